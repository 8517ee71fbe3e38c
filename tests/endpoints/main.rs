//! Endpoints: what customers write, and how endpoints do.

mod diagnose;
mod endpoint_overrides;
mod health;
mod rotation;
mod rows;
mod scene;
mod secrets;
mod secrets_at_rest;
mod signature;
mod test_webhook;
