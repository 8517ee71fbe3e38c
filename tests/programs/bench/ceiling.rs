//! How many requests per second could be sent at best: the same pool, signing and client, the same requests to the same
//! receiver, with nothing read or stored?

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;
use webhook_sender::{DeliveryKey, Destination, Job, Pool, PoolConfig, Rules};

use crate::stand::{AUCTION, Stand};
use crate::throughput::{EVENTS, data};

/// As many jobs wait in the pool at most, as when the worker fills it.
const WAITING: usize = 2048;

/// As installed: `webhook_delivery.pool_size`.
const THREADS: usize = 64;

/// Requests per second.
pub fn measure(stand: &Stand) -> f64 {
    let (ports, networks) = ("1-65535".parse().expect("ports"), "127.0.0.0/8".parse().expect("a network"));
    let rules = Rules { allow_http: true, ports, networks, ..Rules::default() };
    let pool = Pool::start(PoolConfig { threads: THREADS, rules, ..PoolConfig::default() }).expect("a pool");
    let (endpoint_id, data) = (Uuid::new_v4(), data());
    let destination = Arc::new(Destination {
        url: stand.receiver.url("/0"),
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
    stand.receiver.reset();
    let began = Instant::now();
    let (mut submitted, mut finished) = (0, 0);
    while finished < EVENTS {
        let next = (EVENTS - submitted).min(WAITING - (submitted - finished));
        pool.submit(std::iter::repeat_with(job).take(next));
        submitted += next;
        let ended = pool.finished();
        assert!(ended.iter().all(|attempt| attempt.result.is_ok()), "the receiver accepts everything");
        finished += ended.len();
        // As the worker does: look again a little later, not for each single request.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    EVENTS as f64 / began.elapsed().as_secs_f64()
}
