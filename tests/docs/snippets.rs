//! Snippets of SQL and shell: each runs in psql or bash, in the order of its page, unless a comment
//! after it says why it cannot.
//!
//! `<!-- not run: reason -->` after a snippet excludes it, `<!-- as: role -->` runs it as that role.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use postgres::Client;
use uuid::Uuid;
use webhook_harness::application::install_tables;
use webhook_harness::rest::{token, token_of};
use webhook_harness::{
    Application, Cluster, DEADLINE, Receiver, Rest, Supabase, checkout, installation, sample, wait_until,
};

use crate::{Page, pages};

/// A snippet, and what the comment after it says.
struct Snippet<'a> {
    language: &'a str,
    code: String,
    line: usize,
    role: Option<&'a str>,
    is_run: bool,
}

/// The fenced snippets of SQL and shell, and statements in code spans.
fn snippets(text: &str) -> Vec<Snippet<'_>> {
    let mut found: Vec<Snippet> = Vec::new();
    let mut open: Option<Snippet> = None;
    let mut is_after_one = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(language) = trimmed.strip_prefix("```") {
            match open.take() {
                Some(snippet) => {
                    is_after_one = ["sql", "sh"].contains(&snippet.language);
                    if is_after_one {
                        found.push(snippet);
                    }
                }
                None => {
                    open = Some(Snippet { language, code: String::new(), line: number + 1, role: None, is_run: true })
                }
            }
        } else if let Some(snippet) = &mut open {
            snippet.code += line;
            snippet.code.push('\n');
        } else if let Some(comment) = trimmed.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            let Some(snippet) = found.last_mut().filter(|_| is_after_one) else { continue };
            if let Some(role) = comment.strip_prefix("as: ") {
                snippet.role = Some(role);
            } else if comment.strip_prefix("not run: ").is_some_and(|reason| reason.len() > 10) {
                snippet.is_run = false;
            }
        } else {
            is_after_one = false;
            for code in trimmed.split('`').skip(1).step_by(2) {
                let is_statement = code.starts_with("select ") || code.starts_with("update webhook");
                if is_statement && !code.contains('\u{2026}') {
                    found.push(Snippet {
                        language: "sql",
                        code: code.to_owned(),
                        line: number + 1,
                        role: None,
                        is_run: true,
                    });
                }
            }
        }
    }
    found
}

/// A server on which the snippets of a page run.
struct Place {
    cluster: Cluster,
    rest: Option<Rest>,
    user: &'static str,
    /// What the words in angle brackets, and the names in addresses and headers, stand for.
    replacements: HashMap<&'static str, String>,
    _receiver: Option<Receiver>,
}

/// An endpoint of Riverside with a delivery that has ended.
fn sample_delivery(client: &mut Client, url: &str) -> (Uuid, Uuid) {
    let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}') returning id";
    let endpoint: Uuid = client.query_one(insert, &[&sample::RIVERSIDE, &url]).unwrap().get(0);
    client.execute("select webhook_delivery.emit('submission.created', $1, '{}')", &[&sample::RIVERSIDE]).unwrap();
    let ended = "select id from webhook_deliveries where status = 'success'";
    let delivery = wait_until("a delivery", DEADLINE, || client.query_opt(ended, &[]).unwrap());
    (endpoint, delivery.get(0))
}

impl Place {
    fn of(page: &Page) -> Place {
        match page.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default() {
            "quickstart" => Place::empty(),
            "supabase" => Place::before_installation(),
            "http-api" | "page" => Place::on_supabase(),
            _ => Place::with_application(),
        }
    }

    fn new(cluster: Cluster, user: &'static str) -> Place {
        Place { cluster, rest: None, user, replacements: HashMap::new(), _receiver: None }
    }

    fn empty() -> Place {
        Place::new(Cluster::start(&[]), "postgres")
    }

    fn before_installation() -> Place {
        let mut supabase = Supabase::without_extension(&[]);
        install_tables(&mut supabase.cluster.connect());
        supabase.run_as_admin("alter role postgres superuser");
        Place::new(supabase.cluster, "postgres")
    }

    fn on_supabase() -> Place {
        let mut supabase = Supabase::start(&[]);
        let receiver = Receiver::by_path();
        let ids = sample_delivery(&mut supabase.admin, &receiver.url("/"));
        let rest = Rest::start(&supabase.cluster);
        let mut place =
            Place { rest: Some(rest), _receiver: Some(receiver), ..Place::new(supabase.cluster, "postgres") };
        place.replace(ids);
        place
    }

    fn with_application() -> Place {
        let mut application = Application::start(&[]);
        let receiver = Receiver::by_path();
        let ids = sample_delivery(&mut application.client, &receiver.url("/"));
        let mut place = Place { _receiver: Some(receiver), ..Place::new(application.cluster, "postgres") };
        place.replace(ids);
        place
    }

    fn replace(&mut self, (endpoint, delivery): (Uuid, Uuid)) {
        self.replacements = HashMap::from([
            ("<endpoint>", endpoint.to_string()),
            ("<delivery>", delivery.to_string()),
            ("<auction>", sample::RIVERSIDE.to_string()),
        ]);
        if let Some(rest) = &self.rest {
            self.replacements.insert("https://HOST/rest/v1", rest.url());
            self.replacements.insert("ANON_KEY", token("anon", None));
            self.replacements.insert("JWT", token_of(sample::DANA));
        }
    }

    /// Runs a snippet; returns its output if it fails.
    fn run(&self, snippet: &Snippet) -> Result<(), String> {
        let mut code = snippet.code.clone();
        for (word, value) in &self.replacements {
            code = code.replace(word, value);
        }
        let psql = installation().program("psql");
        let mut command = match snippet.language {
            "sql" => Command::new(&psql),
            _ => Command::new("bash"),
        };
        match snippet.language {
            "sql" => command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]),
            // A response of 400 or more is a failure.
            _ => command.args([
                "-eo",
                "pipefail",
                "-c",
                "curl() { command curl --fail-with-body -sS \"$@\"; }; eval \"$SNIPPET\"",
            ]),
        };
        let path = format!(
            "{}:{}",
            psql.parent().unwrap_or(Path::new("")).display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let child = command
            .current_dir(checkout())
            .env("PATH", path)
            .env("PGHOST", self.cluster.socket_dir())
            .env("PGUSER", snippet.role.unwrap_or(self.user))
            .env("PGDATABASE", "postgres")
            .env("SNIPPET", &code)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|e| e.to_string())?;
        child.stdin.take().expect("a pipe").write_all(code.as_bytes()).map_err(|e| e.to_string())?;
        let done = child.wait_with_output().map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() {
            Ok(())
        } else {
            Err(format!("{code}\n{}{}", text(&done.stdout), text(&done.stderr)))
        }
    }
}

/// Runs all snippets of the pages that `is_meant` selects.
fn run_pages(is_meant: impl Fn(&str) -> bool) {
    let mut failures = Vec::new();
    let mut count = 0;
    for page in pages().iter().filter(|page| is_meant(&page.path.to_string_lossy())) {
        let snippets = snippets(&page.text);
        if !snippets.iter().any(|snippet| snippet.is_run) {
            continue;
        }
        let place = Place::of(page);
        for snippet in snippets.iter().filter(|snippet| snippet.is_run) {
            count += 1;
            if let Err(problem) = place.run(snippet) {
                failures.push(format!("{}:{}:\n{problem}", page.path.display(), snippet.line));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 3, "{count} snippets");
}

#[test]
fn snippets_of_the_guides_run() {
    run_pages(|path| !["supabase", "http-api", "page", "quickstart"].iter().any(|name| path.contains(name)));
}

#[test]
fn snippets_of_the_quickstart_run_on_an_empty_database() {
    run_pages(|path| path.contains("quickstart"));
}

#[test]
fn snippets_of_supabase_and_http_run_through_a_rest_server() {
    if !Rest::is_installed() {
        panic!("no REST server: run `make test`");
    }
    run_pages(|path| ["supabase", "http-api", "docs/page"].iter().any(|name| path.contains(name)));
}
