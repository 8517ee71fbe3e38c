//! Endpoints that keep failing are disabled, and other endpoints of the auction receive notices.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres::Client;
use serde_json::Value;
use uuid::Uuid;
use webhook_harness::listener::assert_valid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, refusal, wait_until};

mod disabling;
mod notices;

/// One attempt for each delivery.
const ONCE: (&str, &str) = ("webhook_delivery.retry_schedule", "");

/// A receiver whose status the test can change.
fn changeable(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let said = Arc::clone(&answer);
    (Receiver::start(move |_| Reply::status(said.load(Ordering::SeqCst))), answer)
}

fn state(client: &mut Client, endpoint: &Endpoint) -> (bool, bool, Option<String>) {
    let sql = "select is_active, disabled_at is not null, disabled_reason from webhook_endpoints where id = $1";
    let row = client.query_one(sql, &[&endpoint.id]).unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[track_caller]
fn wait_until_disabled(client: &mut Client, endpoint: &Endpoint) -> String {
    wait_until("the endpoint to be disabled", DEADLINE, || {
        let (is_active, has_disabled_at, reason) = state(client, endpoint);
        assert_eq!(!is_active, has_disabled_at);
        reason
    })
}

/// Makes deliveries fail for good, one after another.
fn fail(client: &mut Client, endpoint: &Endpoint, times: i32) {
    for _ in 0..times {
        let before = endpoint.deliveries(client).iter().filter(|delivery| delivery.status == "failed").count();
        endpoint.emit(client, 1);
        endpoint.wait_for(client, before + 1, "failed");
    }
}

fn failures_counted(client: &mut Client, endpoint: &Endpoint) -> Option<i32> {
    let sql = "select failed_deliveries from webhook_delivery.endpoint_health where endpoint_id = $1";
    client.query_opt(sql, &[&endpoint.id]).unwrap().map(|row| row.get(0))
}

fn wait_until_counted(client: &mut Client, endpoint: &Endpoint, failures: Option<i32>) {
    wait_until(&format!("a count of {failures:?} failures"), DEADLINE, || {
        (failures_counted(client, endpoint) == failures).then_some(())
    });
}

fn enable(client: &mut Client, endpoint: &Endpoint) {
    client.execute("update webhook_endpoints set is_active = true where id = $1", &[&endpoint.id]).unwrap();
}

/// An endpoint that receives the notices about other endpoints.
struct Watcher {
    receiver: Receiver,
    endpoint: Endpoint,
}

impl Watcher {
    /// Creates a watcher in the auction of the watched endpoint.
    fn in_auction_of(client: &mut Client, watched: &Endpoint, events: &[&str]) -> Watcher {
        let receiver = Receiver::start(|_| Reply::ok());
        let sql = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, $3) returning id";
        let id = client.query_one(sql, &[&watched.auction_id, &receiver.url("/"), &events]).unwrap().get(0);
        Watcher { receiver, endpoint: Endpoint { id, ..watched.clone() } }
    }

    /// Event and data of each notice that it received.
    fn received(&self) -> Vec<(String, Value)> {
        let requests = self.receiver.requests();
        requests.iter().map(|request| (request.event().unwrap().to_owned(), request.json()["data"].clone())).collect()
    }

    fn wait_for(&self, event: &str) -> Value {
        wait_until(event, DEADLINE, || {
            self.received().into_iter().find_map(|(name, data)| (name == event).then_some(data))
        })
    }

    fn count(&self, event: &str) -> usize {
        self.received().iter().filter(|(name, _)| name == event).count()
    }
}
