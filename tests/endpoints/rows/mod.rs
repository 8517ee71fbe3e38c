//! Endpoints: which ones are accepted, and deliveries whose endpoint is disabled or deleted.

use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal, sample, tenant, wait_until};

mod disabled_or_deleted;
mod mistakes;
mod written;

const INSERT: &str = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, $3) returning id";

/// An application with an endpoint for all of Riverside's events and one for all of Hilltop's.
fn two_endpoints(receiver: &Receiver, settings: &[(&str, &str)]) -> (Application, Endpoint, Endpoint) {
    let mut application = Application::start(settings);
    let riverside = application.endpoint(sample::RIVERSIDE, &receiver.url("/riverside"), &["*"]);
    let hilltop = application.endpoint(sample::HILLTOP, &receiver.url("/hilltop"), &["*"]);
    (application, riverside, hilltop)
}

const SET_ACTIVE: &str = "update webhook_endpoints set is_active = $2 where id = $1";
