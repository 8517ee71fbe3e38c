//! The REST server of the tests where PostgREST is not configured.
//!
//! It reads PostgREST's settings from the environment, so that both programs start in the same way.

use std::error::Error;

use postrust_core::AppConfig;
use postrust_server::lenient_uri::LenientListener;
use postrust_server::{Host, build};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = AppConfig::try_from_env()?;
    let listener = TcpListener::bind((config.server_host.as_str(), config.server_port)).await?;
    let app = build(config, Host::SERVER).await?;
    axum::serve(LenientListener(listener), app.router).await?;
    Ok(())
}
