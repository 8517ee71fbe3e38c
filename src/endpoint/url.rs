//! URLs: whether a text can be the URL of an endpoint. The rules are in `src/sender/url.rs`.

use pgrx::prelude::*;

use super::refuse;
use crate::postgres::settings;

/// The normal form of an endpoint's URL. Raises 22023 for a URL that no endpoint may have: a scheme
/// other than https (or http if `allow_http` is on), a user name or password, a port that is not in
/// `allowed_ports`, an address that is neither in the public internet nor in `allowed_networks`.
#[pg_extern(stable, strict, schema = "webhook_delivery")]
fn normal_url(url: &str) -> String {
    settings::rules().normal_url(url).unwrap_or_else(|problem| refuse(problem.to_string(), problem.hint()))
}
