//! An endpoint of a test: creating it, queueing events for it, reading its deliveries.
//!
//! For tests that need no tables of an application: events come from `webhook_delivery.emit()`.

use std::time::SystemTime;

use postgres::{Client, GenericClient};
use uuid::Uuid;

use crate::wait::{DEADLINE, wait_until};

/// An endpoint in an auction of its own that subscribes to every event.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Id of the endpoint.
    pub id: Uuid,
    /// No other endpoint belongs to this auction, so its events go only to this one.
    pub auction_id: Uuid,
    /// The secret that signs its requests.
    pub secret: String,
}

/// A row of `webhook_deliveries`, with the columns that tests read.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The `webhook_id`.
    pub id: Uuid,
    /// `pending`, `retrying`, `success` or `failed`.
    pub status: String,
    /// Number of attempts so far.
    pub attempts: i32,
    /// HTTP status of the last attempt.
    pub response_status_code: Option<i16>,
    /// Error of the last attempt.
    pub error_message: Option<String>,
    /// When the last attempt started.
    pub last_attempt_at: Option<SystemTime>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<SystemTime>,
    /// When the delivery ended.
    pub completed_at: Option<SystemTime>,
}

/// A row of `webhook_delivery_attempts`.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// The `webhook_id`.
    pub delivery_id: Uuid,
    /// Counted from 1.
    pub attempt: i32,
    /// `success` or `failed`.
    pub status: String,
    /// HTTP status of the response, if there was one.
    pub response_status_code: Option<i16>,
    /// Time from the start of the request to its end.
    pub response_time_ms: i32,
    /// The error as the customer reads it.
    pub error_message: Option<String>,
    /// The beginning of the response's body.
    pub response_excerpt: Option<String>,
    /// When the request started.
    pub attempted_at: SystemTime,
    /// When the following attempt was due.
    pub next_attempt_at: Option<SystemTime>,
}

impl Endpoint {
    /// Creates an endpoint with a generated secret.
    #[track_caller]
    pub fn create(client: &mut Client, url: &str) -> Endpoint {
        Endpoint::insert(client, url, None)
    }

    /// Creates an endpoint with the customer's own secret.
    #[track_caller]
    pub fn create_with_secret(client: &mut Client, url: &str, secret: &str) -> Endpoint {
        let endpoint = Endpoint::insert(client, url, Some(secret));
        Endpoint { secret: secret.to_owned(), ..endpoint }
    }

    #[track_caller]
    fn insert(client: &mut Client, url: &str, secret: Option<&str>) -> Endpoint {
        let sql = "insert into webhook_endpoints (auction_id, url, events, secret) values ($1, $2, '{*}', $3) returning id, coalesce(generated_secret(webhook_endpoints), secret)";
        let auction_id = Uuid::new_v4();
        let row = client
            .query_one(sql, &[&auction_id, &url, &secret])
            .unwrap_or_else(|e| panic!("an endpoint for {url} could not be created: {:?}", e.as_db_error()));
        Endpoint { id: row.get(0), auction_id, secret: row.get(1) }
    }

    /// Emits `count` events with one statement, in the open transaction or in one of its own.
    #[track_caller]
    pub fn emit(&self, client: &mut impl GenericClient, count: i32) {
        let sql = "select webhook_delivery.emit('submission.created', $1, json_build_object('n', n))
                   from generate_series(1, $2) as n";
        client.execute(sql, &[&self.auction_id, &count]).unwrap_or_else(|e| {
            panic!("emit() failed: {:?}", e.as_db_error().map(|e| (e.code().code(), e.message().to_owned())))
        });
    }

    /// Returns its deliveries, oldest first.
    #[track_caller]
    pub fn deliveries(&self, client: &mut Client) -> Vec<Delivery> {
        let sql = "select id, status::text, attempts, response_status_code, error_message, last_attempt_at, next_attempt_at, completed_at
                   from webhook_deliveries where endpoint_id = $1 order by id";
        let rows = client.query(sql, &[&self.id]).expect("the history can be read");
        let delivery = |row: &postgres::Row| Delivery {
            id: row.get(0),
            status: row.get(1),
            attempts: row.get(2),
            response_status_code: row.get(3),
            error_message: row.get(4),
            last_attempt_at: row.get(5),
            next_attempt_at: row.get(6),
            completed_at: row.get(7),
        };
        rows.iter().map(delivery).collect()
    }

    /// Returns all its attempts, ordered by delivery and number.
    #[track_caller]
    pub fn attempts(&self, client: &mut Client) -> Vec<AttemptRow> {
        let sql = "select delivery_id, attempt, status::text, response_status_code, response_time_ms, error_message, response_excerpt,
                       attempted_at, next_attempt_at
                   from webhook_delivery_attempts where endpoint_id = $1 order by delivery_id, attempt";
        let rows = client.query(sql, &[&self.id]).expect("the history can be read");
        let attempt = |row: &postgres::Row| AttemptRow {
            delivery_id: row.get(0),
            attempt: row.get(1),
            status: row.get(2),
            response_status_code: row.get(3),
            response_time_ms: row.get(4),
            error_message: row.get(5),
            response_excerpt: row.get(6),
            attempted_at: row.get(7),
            next_attempt_at: row.get(8),
        };
        rows.iter().map(attempt).collect()
    }

    /// Waits until `count` of its deliveries have this status, and returns all that do.
    #[track_caller]
    pub fn wait_for(&self, client: &mut Client, count: usize, status: &str) -> Vec<Delivery> {
        let mut found = Vec::new();
        wait_until(&format!("{count} deliveries with status {status}"), DEADLINE, || {
            found = self.deliveries(client);
            found.retain(|delivery| delivery.status == status);
            (found.len() >= count).then_some(())
        });
        found
    }

    /// Waits until its only delivery has failed, and returns the delivery's only attempt.
    #[track_caller]
    pub fn only_failure(&self, client: &mut Client) -> AttemptRow {
        self.wait_for(client, 1, "failed");
        let attempts = self.attempts(client);
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts.into_iter().next().expect("counted above")
    }
}
