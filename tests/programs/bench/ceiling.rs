//! The ceiling: requests per second with the same pool, signing and client, and the same requests
//! to the same receiver, but with nothing read from or stored in the database.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;
use webhook_sender::{DeliveryKey, Destination, Job, Pool, PoolConfig, Rules};

use crate::testbed::{AUCTION, Testbed};
use crate::throughput::{EVENTS, data};

/// Maximum number of jobs that wait in the pool, the same as in the worker.
const MAX_WAITING: usize = 2048;

/// The default of `webhook_delivery.pool_size`.
const THREADS: usize = 64;

/// Requests per second.
pub fn measure(testbed: &Testbed) -> f64 {
    let (ports, networks) = ("1-65535".parse().expect("ports"), "127.0.0.0/8".parse().expect("a network"));
    let rules = Rules { allow_http: true, ports, networks, ..Rules::default() };
    let pool = Pool::start(PoolConfig { threads: THREADS, rules, ..PoolConfig::default() }).expect("a pool");
    let (endpoint_id, data) = (Uuid::new_v4(), data());
    let destination = Arc::new(Destination {
        url: testbed.receiver.url("/0"),
        secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()],
        ..Destination::default()
    });
    let job = || Job {
        key: DeliveryKey {
            delivery_id: Uuid::new_v4(),
            endpoint_id,
            auction_id: AUCTION,
            attempt: 1,
            earlier_attempts: 0,
            event_id: Uuid::new_v4(),
            due_at: 0,
            row_id: None,
            is_test: false,
        },
        event_type: "submission.created".into(),
        occurred_at: SystemTime::now(),
        data: data.clone(),
        destination: Arc::clone(&destination),
        timeout: Duration::from_secs(30),
    };
    testbed.receiver.reset();
    let began = Instant::now();
    let (mut submitted, mut finished) = (0, 0);
    while finished < EVENTS {
        let next = (EVENTS - submitted).min(MAX_WAITING - (submitted - finished));
        pool.submit(std::iter::repeat_with(job).take(next));
        submitted += next;
        let ended = pool.finished();
        assert!(ended.iter().all(|attempt| attempt.result.is_ok()), "every request succeeds");
        finished += ended.len();
        // Like the worker, which does not wake up for each single request.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    EVENTS as f64 / began.elapsed().as_secs_f64()
}
