//! Can this be an endpoint's address, and how is it written in its one normal form?

use pgrx::prelude::*;

use super::refuse;

/// The URL's normal form, or why it cannot be an endpoint and what to do. The normal form is what is kept and called: what
/// was checked and what is called must be the same to every parser.
fn normal_url(url: &str, allow_http: bool) -> Result<String, (String, &'static str)> {
    const EXAMPLE: &str = "Use an address such as https://example.com/webhooks.";
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(("the URL contains white space or control characters".into(), EXAMPLE));
    }
    let parsed = url::Url::parse(url).map_err(|problem| (format!("this is not a URL: {problem}"), EXAMPLE))?;
    match parsed.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => {
            return Err((
                "the URL must begin with https://".into(),
                "Anyone on the way could read events sent over http. For development, webhook_delivery.allow_http = on accepts it.",
            ));
        }
        other => return Err((format!("the URL must begin with https://, not {other}:"), EXAMPLE)),
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(("the URL names no host".into(), EXAMPLE));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err((
            "the URL contains a user name or password".into(),
            "Everyone who sees the endpoint would see it. Verify the signature instead.",
        ));
    }
    if parsed.port() == Some(0) {
        return Err(("the URL names port 0".into(), EXAMPLE));
    }
    let normal = parsed.as_str();
    if !webhook_sender::can_be_called(normal) {
        return Err((
            "the URL contains characters that no request can carry".into(),
            "Write them in percent encoding.",
        ));
    }
    Ok(normal.to_owned())
}

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// The normal form of an endpoint's URL. Refuses (22023) one that cannot be an endpoint: scheme other than https (http
    /// where `allow_http` is on), no host, user name or password in it, white space.
    #[pg_extern(stable, strict)]
    fn normal_url(url: &str) -> Option<String> {
        match super::normal_url(url, crate::server::settings::allow_http()) {
            Ok(normal) => Some(normal),
            Err((message, hint)) => {
                super::refuse(message, hint);
                None
            }
        }
    }
}
