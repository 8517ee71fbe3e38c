//! The administrator's page, and its security policy in the browser.
//!
//! The page is one file of HTML that loads nothing from other sites. It has no rights of its own:
//! it reads and changes everything through the REST server, with the token of the signed-in user.

use std::ffi::CString;
use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use sha2::{Digest, Sha256};

use crate::postgres::settings;

mod auctions;
mod brand;
mod origin;

use brand::Brand;
use origin::{Origin, Origins};

static EMBEDDERS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Defines the page's settings. Called while the server loads the library.
pub fn define_settings() {
    brand::define_settings();
    // SAFETY: the check hook does not panic across the boundary, it is guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.page_origins",
            c"Sets the web sites that may show the administrator's page in a frame and pass it a token.",
            c"A list of origins such as 'https://admin.example.com'. If empty, only pages of the site that serves it may.",
            &EMBEDDERS,
            GucContext::Suset,
            GucFlags::default(),
            Some(settings::check::<Origins>),
            None,
            None,
        );
    }
}

/// Web sites that may show the page in a frame. The check hook has validated the value.
fn origins() -> Origins {
    settings::text(&EMBEDDERS).parse().unwrap_or_default()
}

/// The styles in ASCII, like the rest of the page, so that the page can be converted to the
/// encoding of every client.
static STYLES: LazyLock<[String; 2]> =
    LazyLock::new(|| [include_str!("vendor/pico.min.css"), include_str!("page.css")].map(escape_non_ascii));

/// The scripts in the order in which they run: each uses definitions of those before it. They are
/// sent without their indentation, a twentieth of the page.
static SCRIPTS: LazyLock<Vec<String>> = LazyLock::new(|| SOURCES.map(without_indentation).to_vec());

const SOURCES: [&str; 22] = [
    include_str!("vendor/preact.min.js"),
    include_str!("vendor/preact-hooks.umd.js"),
    include_str!("vendor/htm.umd.js"),
    include_str!("texts/en.js"),
    include_str!("scripts/format.js"),
    include_str!("scripts/session.js"),
    include_str!("scripts/api.js"),
    include_str!("scripts/components.js"),
    include_str!("scripts/chart.js"),
    include_str!("scripts/events.js"),
    include_str!("scripts/form.js"),
    include_str!("scripts/delivery.js"),
    include_str!("scripts/filters.js"),
    include_str!("scripts/retry.js"),
    include_str!("scripts/history.js"),
    include_str!("scripts/send-test.js"),
    include_str!("scripts/verify.js"),
    include_str!("scripts/diagnosis.js"),
    include_str!("scripts/endpoint.js"),
    include_str!("scripts/endpoints.js"),
    include_str!("scripts/sign-in.js"),
    include_str!("scripts/app.js"),
];

/// Example code that the author of a receiver copies. For the page it is data; the page does not
/// run it.
const VERIFIERS: [(&str, &str); 3] = [
    ("typescript", include_str!("verify/verify.ts")),
    ("python", include_str!("verify/verify.py")),
    ("go", include_str!("verify/verify.go")),
];

/// The administrator's page as PostgREST serves it. PostgREST takes the response's headers from a
/// setting. The argument is the gateway's key; only the page's address contains it, the function
/// ignores it.
// The return type tells PostgREST that this is HTML. It is a domain, which pgrx does not support.
#[pg_extern(sql = "
    create function public.webhook_admin(apikey text default null) returns webhook_delivery.\"text/html\"
        language c stable as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn webhook_admin(_apikey: Option<&str>) -> String {
    let page = Page::at(None);
    page.announce();
    page.html()
}

/// The same page for another web server; there it calls PostgREST at `api_url`.
#[pg_extern(stable, strict, schema = "webhook_delivery")]
fn admin_page(api_url: &str) -> String {
    let api = Origin::and_path(api_url).unwrap_or_else(|problem| {
        crate::postgres::errors::refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid URL of a REST server: {problem}"),
            "Use the address of PostgREST, such as https://HOST/rest/v1.",
        )
    });
    Page::at(Some(api)).html()
}

struct Page {
    /// Origin and path of the REST server; `None` if the REST server serves the page itself.
    api: Option<(Origin, String)>,
    origins: Origins,
    brand: Brand,
}

impl Page {
    fn at(api: Option<(Origin, String)>) -> Self {
        Self { api, origins: origins(), brand: Brand::current() }
    }

    fn html(&self) -> String {
        let mut styles = String::new();
        let mut scripts = String::new();
        for style in STYLES.iter().chain([&self.brand.style]) {
            writeln!(styles, "<style>{style}</style>").expect("a text can be written to");
        }
        for (language, code) in VERIFIERS {
            writeln!(scripts, "<script type=\"text/plain\" id=\"verify-{language}\">{code}</script>")
                .expect("a text can be written to");
        }
        for script in SCRIPTS.iter() {
            writeln!(scripts, "<script>{script}</script>").expect("a text can be written to");
        }
        // Only the skeleton's own placeholders are replaced: styles and scripts are not searched.
        let (head, body) = SKELETON.split_once("{styles}").expect("the skeleton has a place for the styles");
        let (body, end) = body.split_once("{scripts}").expect("and one for the scripts");
        let head = head
            .replace("{policy}", &self.policy())
            .replace("{api}", &self.api.as_ref().map_or_else(String::new, |(_, url)| attribute(url)))
            .replace("{origins}", &self.origins.to_string())
            .replace("{logo}", &attribute(&self.brand.logo))
            // The last, because a name could contain another placeholder.
            .replace("{name}", &attribute(&self.brand.name));
        [&head, &styles, body, &scripts, end].concat()
    }

    /// The Content-Security-Policy: only these scripts run, nothing is loaded, and requests go only
    /// to the REST server. The scripts cannot make HTML of a text, so the response of a receiver is
    /// shown and never interpreted.
    fn policy(&self) -> String {
        let api = self.api.as_ref().map_or("'self'".to_owned(), |(origin, _)| origin.to_string());
        format!(
            "default-src 'none'; script-src {}; style-src {} {}; img-src data:; connect-src {api}; base-uri 'none'; form-action 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            *HASHES_OF_SCRIPTS,
            *HASHES_OF_STYLES,
            hashes(&[&self.brand.style]),
        )
    }

    /// Sets the response's headers: PostgREST reads them from this setting.
    fn announce(&self) {
        let headers = serde_json::json!([
            { "Content-Security-Policy": format!("{}; frame-ancestors 'self' {}", self.policy(), self.origins) },
            { "Cache-Control": "no-cache" },
            // The address may contain the gateway's key.
            { "Referrer-Policy": "no-referrer" },
            { "X-Content-Type-Options": "nosniff" },
        ]);
        let headers = CString::new(headers.to_string()).expect("JSON has no zero byte");
        // SAFETY: NUL-terminated texts that guc.c copies. The setting lasts until the end of the
        // transaction, which is the end of the request.
        unsafe {
            pg_sys::set_config_option(
                c"response.headers".as_ptr(),
                headers.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
    }
}

const SKELETON: &str = include_str!("page.html");

static HASHES_OF_SCRIPTS: LazyLock<String> = LazyLock::new(|| hashes(&SCRIPTS));
static HASHES_OF_STYLES: LazyLock<String> = LazyLock::new(|| hashes(STYLES.as_slice()));

/// The hashes of these texts as a policy names them.
fn hashes(texts: &[impl AsRef<[u8]>]) -> String {
    let hash = |text: &_| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    texts.iter().map(hash).collect::<Vec<_>>().join(" ")
}

/// A script without the white space at the beginning of its lines.
fn without_indentation(script: &str) -> String {
    script.lines().flat_map(|line| [line.trim_start(), "\n"]).collect()
}

/// A style sheet with CSS escapes for all characters that are not ASCII. The space ends the escape
/// and is not part of the text.
fn escape_non_ascii(style: &str) -> String {
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\{:x} ", u32::from(c)) };
    style.chars().map(escape).collect()
}

/// A text as the value of an attribute in double quotes, in ASCII.
fn attribute(text: &str) -> String {
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("&#{};", u32::from(c)) };
    let text = text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    text.chars().map(escape).collect()
}
