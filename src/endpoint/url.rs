//! Whether a text can be the URL of an endpoint.

#[pgrx::pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// The normal form of an endpoint's URL. Refuses (22023) one that cannot be an endpoint's or leads where none may: scheme
    /// other than https (http where `allow_http` is on), user name or password in it, a port that is not among
    /// `allowed_ports`, an address that is not of the public internet nor among `allowed_networks`.
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
