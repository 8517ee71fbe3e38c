//! URLs: whether a text can be the URL of an endpoint.

#[pgrx::pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// The normal form of an endpoint's URL. Raises an error (22023) for a URL that no endpoint may
    /// have: a scheme other than https (or http if `allow_http` is on), a user name or password, a
    /// port that is not in `allowed_ports`, an address that is neither in the public internet nor
    /// in `allowed_networks`.
    #[pg_extern(stable, strict)]
    fn normal_url(url: &str) -> Option<String> {
        match crate::postgres::settings::rules().normal_url(url) {
            Ok(normal) => Some(normal),
            Err(problem) => {
                crate::endpoint::refuse(problem.to_string(), problem.hint());
                None
            }
        }
    }
}
