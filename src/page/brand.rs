//! The name, logo and colour of the application, with which the page is shown.

use std::ffi::CString;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::postgres::settings;

static NAME: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static LOGO: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static COLOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

const MAX_NAME: usize = 100;
/// The logo is part of every response that has the page.
const MAX_LOGO: usize = 32 * 1024;

/// The application's name; empty for none.
struct Name;

/// An image as a `data:` URL; empty for none. The page shows it as an image, so that a script in an
/// SVG does not run.
struct Logo;

/// A colour as in `#0a7d4b`; `None` for the page's own.
#[derive(Default)]
struct Color(Option<[u8; 3]>);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
            return Err(format!("The name must have at most {MAX_NAME} characters and no control characters."));
        }
        Ok(Self)
    }
}

impl FromStr for Logo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self);
        }
        if text.len() > MAX_LOGO {
            return Err(format!("The logo must have at most {MAX_LOGO} bytes."));
        }
        let types = ["svg+xml", "png", "jpeg", "webp"];
        let encoded = types.iter().find_map(|of| text.strip_prefix(&format!("data:image/{of};base64,")));
        let Some(encoded) = encoded else {
            return Err(format!(
                "The logo must begin with data:image/TYPE;base64, and TYPE must be one of {}.",
                types.join(", ")
            ));
        };
        BASE64_STANDARD
            .decode(encoded)
            .map(|_| Self)
            .map_err(|problem| format!("Invalid base64 in the logo: {problem}."))
    }
}

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && !digits.starts_with('+'));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, red, green, blue] = number.ok_or("A colour is written as #0a7d4b.")?.to_be_bytes();
        Ok(Self(Some([red, green, blue])))
    }
}

impl Color {
    /// Style rules that give buttons this colour, and their text black or white, whichever has the
    /// higher contrast. Links keep the page's colour, which is readable on every background.
    fn rules(&self) -> String {
        let Some(bytes) = self.0 else { return String::new() };
        // Relative luminance as the Web Content Accessibility Guidelines 2.1 define it. At 0.179,
        // black and white have the same contrast.
        let [r, g, b] = bytes.map(|byte| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        });
        let text = if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 { "#000" } else { "#fff" };
        let [red, green, blue] = bytes;
        let color = format!("#{red:02x}{green:02x}{blue:02x}");
        format!(
            ":root:root:root {{ --brand: {color}; --pico-primary-background: {color}; --pico-primary-border: {color}; \
             --pico-primary-hover-background: {color}; --pico-primary-hover-border: {color}; --pico-primary-inverse: {text}; }}"
        )
    }
}

/// How the page presents itself. The check hooks have validated the values.
pub struct Brand {
    pub name: String,
    pub logo: String,
    /// A style sheet; empty for the page's own colour.
    pub style: String,
}

impl Brand {
    pub fn current() -> Self {
        let color: Color = settings::text(&COLOR).parse().unwrap_or_default();
        Self { name: settings::text(&NAME), logo: settings::text(&LOGO), style: color.rules() }
    }
}

/// Defines the settings. Called while the server loads the library.
pub fn define_settings() {
    // SAFETY: the check hooks do not panic across the boundary, they are guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.page_name",
            c"Sets the application's name at the top of the administrator's page and in its title.",
            c"If empty, the page is called Webhooks.",
            &NAME,
            GucContext::Suset,
            GucFlags::default(),
            Some(settings::check::<Name>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.page_logo",
            c"Sets the logo at the top of the administrator's page.",
            c"An image of at most 32 kB as a URL that begins with data:image/svg+xml;base64, or the same of png, jpeg or webp.",
            &LOGO,
            GucContext::Suset,
            GucFlags::default(),
            Some(settings::check::<Logo>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.page_color",
            c"Sets the colour of the buttons of the administrator's page.",
            c"A colour such as '#0a7d4b'. If empty, the page has its own.",
            &COLOR,
            GucContext::Suset,
            GucFlags::default(),
            Some(settings::check::<Color>),
            None,
            None,
        );
    }
}
