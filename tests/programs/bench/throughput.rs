//! Deliveries per second, from the commit that queued them to the last history row.

use std::time::Instant;

use crate::process_usage;
use crate::progress::wait_for;
use crate::testbed::{AUCTION, Testbed};

/// Events of one run.
pub const EVENTS: usize = 50_000;

/// Bytes of the write-ahead log written so far.
const WAL: &str = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";

pub struct Run {
    pub per_s: f64,
    pub worker_cpu_us_per_delivery: f64,
    /// From the commit of the events to the last history row.
    pub wal_bytes_per_delivery: f64,
}

/// The data of every event: the catalogue's example.
pub fn data() -> String {
    r#"{"id": "7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601", "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03", "location_name": "North Lot", "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04", "submitted_by": "Dana Reyes", "submitted_at": "2026-01-15T14:30:00Z", "entries": [{"type_id": "e0b4c2a6-3d18-4f59-8c71-2a6b9d0e4f05", "type_name": "Sedan", "car_count": 42, "image_url": null}, {"type_id": "f1c5d3b7-4e29-4a6a-9d82-3b7c0e1f5a06", "type_name": "Truck", "car_count": 17, "image_url": null}], "total_car_count": 59, "image_url": null}"#.to_owned()
}

/// Measures one endpoint with an otherwise empty queue.
pub fn measure(testbed: &Testbed) -> Run {
    testbed.set_endpoints(1);
    deliver(testbed, EVENTS)
}

/// Queues this number of events in one transaction and waits until they are delivered and recorded.
pub fn deliver(testbed: &Testbed, events: usize) -> Run {
    testbed.receiver.reset();
    testbed.cluster.execute("checkpoint");
    let recorded = "select count(*) from webhook_delivery.attempts where status = 'success'";
    let before: i64 = testbed.cluster.query_one(recorded, &[]);
    let worker = testbed.worker_pid();
    let mut session = testbed.connect();
    let mut queueing = session.transaction().expect("a transaction");
    queueing
        .execute(
            "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json)) from generate_series(1, $3::int)",
            &[&AUCTION, &data(), &(events as i32)],
        )
        .expect("events are queued");
    let cpu_before = process_usage::cpu_micros(worker);
    queueing.commit().expect("a commit");
    let began = Instant::now();
    let wal_before: i64 = testbed.cluster.query_one(WAL, &[]);
    wait_for("the last request", events as u64, || testbed.receiver.stats().distinct_ids);
    wait_for("the last history row", events as u64, || {
        let now: i64 = session.query_one(recorded, &[]).expect("the history is readable").get(0);
        (now - before).unsigned_abs()
    });
    let took = began.elapsed();
    let wal: i64 = testbed.cluster.query_one(WAL, &[]);
    Run {
        wal_bytes_per_delivery: (wal - wal_before) as f64 / events as f64,
        per_s: events as f64 / took.as_secs_f64(),
        worker_cpu_us_per_delivery: (process_usage::cpu_micros(worker) - cpu_before) / events as f64,
    }
}
