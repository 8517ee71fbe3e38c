//! Kills of every part of the server, one after another, lose no committed event.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, ReceiverProgram, StopMode, wait_until};

const KILLS: usize = 20;

/// The endpoints answer at once, after 20 ms, at the second attempt, and at the third attempt.
const ENDPOINTS: [&str; 4] = ["/ok", "/slow/20", "/fail-then-ok/1", "/fail-then-ok/2"];

/// The queue length at which no more events are emitted: enough for each kill to find deliveries.
const BACKLOG: i64 = 2_000;

/// The minimum number of deliveries between two kills.
const BETWEEN_KILLS: u64 = 150;

#[derive(Clone, Copy, Debug)]
enum Kill {
    Worker,
    Launcher,
    Backend,
    Postmaster,
    Immediate,
    FastRestart,
}

const KINDS: [Kill; 6] =
    [Kill::Worker, Kill::Launcher, Kill::Backend, Kill::Postmaster, Kill::Immediate, Kill::FastRestart];

impl Kill {
    fn happen(self, cluster: &Cluster) {
        match self {
            Kill::Worker => cluster.kill9(cluster.wait_for_worker("postgres", None)),
            Kill::Launcher => cluster.kill9(pid_of(cluster, "backend_type = 'webhook_delivery launcher'")),
            Kill::Backend => cluster.kill9(pid_of(cluster, "application_name = 'emitter'")),
            Kill::Postmaster => {
                cluster.kill9_postmaster();
                cluster.start_again();
            }
            Kill::Immediate => cluster.restart(StopMode::Immediate),
            Kill::FastRestart => cluster.restart(StopMode::Fast),
        }
    }
}

fn pid_of(cluster: &Cluster, condition: &str) -> i32 {
    wait_until(&format!("a process with {condition}"), DEADLINE, || {
        let sql = format!("select pid from pg_stat_activity where {condition} limit 1");
        cluster.connect().query_opt(&sql, &[]).ok()?.map(|row| row.get(0))
    })
}

/// Emits events, several in a transaction, until `over` is set, and reconnects when the server
/// ends. Returns the events that were certainly committed. The outcome of a COMMIT during which the
/// connection broke is unknown.
fn emit_until(over: &AtomicBool, cluster: &Cluster, auction_id: Uuid) -> Vec<Uuid> {
    let mut committed = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mut client = cluster.connect();
        if let Err(error) = emit_until_disconnected(over, &mut client, auction_id, &mut committed) {
            // 57P: the server is shutting down. No SQLSTATE: the connection is gone.
            let is_end = error.as_db_error().is_none_or(|error| error.code().code().starts_with("57P"));
            assert!(is_end, "{error:?}");
        }
    }
    committed
}

fn emit_until_disconnected(
    over: &AtomicBool,
    client: &mut Client,
    auction_id: Uuid,
    committed: &mut Vec<Uuid>,
) -> Result<(), postgres::Error> {
    client.batch_execute("set application_name = 'emitter'")?;
    while !over.load(Ordering::Relaxed) {
        let full = "select count(*) >= $1 from (select from webhook_delivery.queue limit $1) as waiting";
        if client.query_one(full, &[&BACKLOG])?.get(0) {
            std::thread::yield_now();
            continue;
        }
        let mut transaction = client.transaction()?;
        let emit = "select webhook_delivery.emit('submission.created', $1, json_build_object('n', n))
                    from generate_series(1, 10) as n";
        let events = transaction.query(emit, &[&auction_id])?;
        transaction.commit()?;
        committed.extend(events.iter().map(|row| row.get::<_, Uuid>(0)));
    }
    Ok(())
}

#[test]
fn twenty_random_kills_lose_no_committed_event() {
    let seed =
        std::env::var("WEBHOOK_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("to repeat these kills: WEBHOOK_KILL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills: Vec<Kill> = KINDS.into_iter().cycle().take(KILLS).collect();
    random.shuffle(&mut kills);

    let receiver = ReceiverProgram::start();
    let cluster = Cluster::with_extension(&[(
        "webhook_delivery.retry_schedule",
        "50ms, 50ms, 50ms, 50ms, 50ms, 50ms, 50ms, 50ms",
    )]);
    let auction_id = Uuid::new_v4();
    for path in ENDPOINTS {
        let sql = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        cluster.connect().execute(sql, &[&auction_id, &receiver.url(path)]).unwrap();
    }

    let over = AtomicBool::new(false);
    let committed: Vec<Uuid> = std::thread::scope(|scope| {
        let emitters: Vec<_> = (0..2).map(|_| scope.spawn(|| emit_until(&over, &cluster, auction_id))).collect();
        // Catches a panic so that the emitters always stop.
        let killing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, kill) in (1..).zip(kills) {
                let goal = receiver.stats().distinct_ids + BETWEEN_KILLS + random.u64(..BETWEEN_KILLS);
                wait_until(&format!("deliveries before kill {number}"), DEADLINE, || {
                    (receiver.stats().distinct_ids >= goal).then_some(())
                });
                println!("kill {number} of {KILLS}, after {goal} deliveries: {kill:?}");
                kill.happen(&cluster);
            }
        }));
        over.store(true, Ordering::Relaxed);
        let committed = emitters.into_iter().flat_map(|emitter| emitter.join().unwrap()).collect();
        killing.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committed
    });

    wait_until("an empty queue", DEADLINE, || {
        let left: i64 = cluster.query_one("select count(*) from webhook_delivery.queue", &[]);
        (left == 0).then_some(())
    });
    let mut client = cluster.connect();
    let mut ids = |sql: &str| -> Vec<Uuid> { client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect() };
    let events: HashSet<Uuid> = ids("select id from webhook_delivery.events").into_iter().collect();
    assert!(committed.iter().all(|event| events.contains(event)), "a committed event is missing");
    let delivered = ids("select id from webhook_deliveries where status = 'success'");
    let ended = ids("select id from webhook_deliveries");
    assert_eq!((delivered.len(), ended.len()), (events.len() * ENDPOINTS.len(), events.len() * ENDPOINTS.len()));
    let arrived = receiver.arrivals();
    assert!(
        delivered.iter().all(|delivery| arrived.contains_key(delivery)),
        "a delivery that never arrived is recorded as a success"
    );
    assert_eq!(arrived.len(), delivered.len(), "every delivery that arrived was committed");
    println!(
        "{} events committed for certain, {} in all; {} deliveries, 0 lost; {} requests",
        committed.len(),
        events.len(),
        delivered.len(),
        receiver.stats().requests
    );
}
