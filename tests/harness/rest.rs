//! A REST server as in the documentation's examples: calls over HTTP with a token.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use ureq::http::Request;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::wait::{DEADLINE, wait_until};

/// PostgREST requires at least 32 characters.
const JWT_SECRET: &str = "a secret of the tests with more than 32 characters";

/// A REST server for the database of a cluster: the program that the environment variable
/// `POSTGREST` names, or our own (`tests/rest`), which has the same protocol. Dropping it ends the
/// program.
pub struct Rest {
    child: Child,
    address: SocketAddr,
    agent: ureq::Agent,
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as JSON, `null` if it is empty.
    pub body: Value,
    /// The header `Content-Range`, if the call requested a page of rows.
    pub content_range: Option<String>,
}

impl Rest {
    /// Whether one of the two programs is installed.
    pub fn is_installed() -> bool {
        program_path().is_some()
    }

    /// Starts a server for the schema `public` of the database `postgres`.
    #[track_caller]
    pub fn start(cluster: &Cluster) -> Rest {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
        let (child, address) = launch(cluster);
        let mut rest = Rest { child, address, agent: config.build().into() };
        wait_until("the REST server", DEADLINE, || {
            if rest.child.try_wait().expect("the state of a child process").is_some() {
                // Another process has taken the port in the meantime.
                (rest.child, rest.address) = launch(cluster);
            }
            TcpStream::connect(rest.address).ok()?;
            (rest.call("GET", "/", None, None).status < 500).then_some(())
        });
        rest
    }

    /// The base URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a call with a token, or as `anon` without one. `Prefer: return=representation` makes
    /// the answer contain the written rows.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.call_with(method, path, token, body, "return=representation")
    }

    /// The same with another header `Prefer`.
    #[track_caller]
    pub fn call_with(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        prefer: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url() + path)
            .header("Content-Type", "application/json")
            .header("Prefer", prefer);
        if let Some(token) = token {
            request = request.header("apikey", "the gateway's").header("Authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let response = self.agent.run(request.body(body).expect("a request"));
        let mut response = response.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let content_range = response.headers().get("Content-Range").and_then(|range| range.to_str().ok());
        let content_range = content_range.map(str::to_owned);
        let text = response.body_mut().read_to_string().expect("an answer in UTF-8");
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method} {path}: {e} in {text}"))
        };
        Answer { status: response.status().as_u16(), body, content_range }
    }
}

impl Answer {
    /// Asserts the status and returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token of a user, like those of Supabase's GoTrue.
pub fn token_of(user: Uuid) -> String {
    token("authenticated", Some(user))
}

/// A token that expired an hour ago, which is more than the clock difference that servers tolerate.
pub fn expired_token_of(user: Uuid) -> String {
    token_until(SystemTime::now() - Duration::from_secs(3600), "authenticated", Some(user))
}

/// A token for a database role.
pub fn token(role: &str, user: Option<Uuid>) -> String {
    token_until(SystemTime::now() + Duration::from_secs(3600), role, user)
}

fn token_until(expires: SystemTime, role: &str, user: Option<Uuid>) -> String {
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({ "role": role, "sub": user, "exp": expires });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes()))
        .expect("a token")
}

/// Starts the program on a port that was free a moment ago.
fn launch(cluster: &Cluster) -> (Child, SocketAddr) {
    let program = program_path().expect("there is no webhook-rest under target/: tests/rest/setup.sh builds it");
    let (address, socket) = (free_address(), cluster.socket_dir().display());
    let child = Command::new(&program)
        .env("PGRST_DB_URI", format!("postgres:///postgres?host={socket}&user=authenticator"))
        .env("PGRST_DB_SCHEMAS", "public")
        .env("PGRST_DB_ANON_ROLE", "anon")
        .env("PGRST_DB_POOL", "4")
        .env("PGRST_JWT_SECRET", JWT_SECRET)
        .env("PGRST_SERVER_HOST", address.ip().to_string())
        .env("PGRST_SERVER_PORT", address.port().to_string())
        .env("PGRST_LOG_LEVEL", "error")
        // Our own program behaves like PostgREST in this respect only with this variable.
        .env("PGRST_COMPAT_MODE", "true")
        .env("PGRST_DB_CHANNEL_ENABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("could not run {}: {e}", program.display()));
    (child, address)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it listens")
}

/// The program that `POSTGREST` names, or our own in the folder where cargo builds it for the
/// tests.
fn program_path() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("POSTGREST").filter(|path| !path.is_empty()) {
        return Some(given.into());
    }
    let this = std::env::current_exe().expect("a running program has a path");
    this.ancestors().skip(1).take(3).map(|folder| folder.join("debug/webhook-rest")).find(|path| path.exists())
}
