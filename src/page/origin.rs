//! Origins: the sites that may show the page in a frame, and the origin of the REST server.

use std::fmt::{self, Display};
use std::str::FromStr;

use url::Url;

/// Scheme, host and port of a web site, as browsers write it: `https://admin.example.com`.
#[derive(Clone, Debug)]
pub struct Origin(String);

/// A list of origins, separated by commas.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<Origin>);

impl Origin {
    /// The origin of a URL, and that URL without a slash at its end.
    pub fn and_path(url: &str) -> Result<(Origin, String), String> {
        let url = Url::parse(url).map_err(|problem| problem.to_string())?;
        if !["https", "http"].contains(&url.scheme()) {
            return Err("it must begin with https:// or http://".to_owned());
        }
        // Such a name would have another meaning in a policy.
        if url.host_str().is_some_and(|host| host.contains(['*', ';', ',', '\'', '"'])) {
            return Err("its host contains invalid characters".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("it must not have a user name, password, query or fragment".to_owned());
        }
        Ok((Origin(url.origin().ascii_serialization()), url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (origin, url) = Origin::and_path(text).map_err(|problem| format!("Invalid origin {text:?}: {problem}."))?;
        if url != origin.0 {
            return Err(format!("Invalid origin {text:?}: it must be only scheme, host and port, such as {origin}."));
        }
        Ok(origin)
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(str::parse).collect::<Result<_, _>>().map(Origins)
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for Origins {
    /// Separated by spaces, as in a policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.0.iter().map(|origin| origin.0.as_str()).collect();
        f.write_str(&all.join(" "))
    }
}
