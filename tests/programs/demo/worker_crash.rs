//! The worker is killed while it sends, and nothing is lost.

use std::collections::HashSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use webhook_harness::sample::{HILLTOP, MAIN_LOT};
use webhook_harness::{DEADLINE, Request, wait_until};

use crate::demo::Demo;

/// Each reply takes 25 ms, so that the worker is still sending when it is killed.
const SLOW_PATH: &str = "/slow/25";

const SUBMISSIONS: usize = 300;

/// The worker is killed after a sixth of the deliveries.
const KILLED_AFTER: usize = SUBMISSIONS / 6;

/// Commits more deliveries than the worker can send at once, and kills it.
pub fn of_the_worker(demo: &mut Demo) {
    demo.screen.heading("The worker is killed while it sends");
    demo.create_healthy_endpoint(HILLTOP, SLOW_PATH, "submission.created");
    let killed = demo.worker_pid();
    demo.run(&format!(
        "insert into submissions (auction_id, location_id)
select '{HILLTOP}', '{MAIN_LOT}' from generate_series(1, {SUBMISSIONS});"
    ));
    demo.committed(SLOW_PATH, SUBMISSIONS);
    let arrived = wait_until("the first deliveries", DEADLINE, || {
        Some(demo.receiver.requests_to(SLOW_PATH).len()).filter(|&count| count >= KILLED_AFTER)
    });
    demo.run_and_show("select pid, state, query from pg_stat_activity where backend_type = 'webhook_delivery worker';");
    kill(Pid::from_raw(killed), Signal::SIGKILL).expect("the worker can be killed");
    demo.screen.say(&format!(
        "kill -9 {killed}, after {arrived} of {SUBMISSIONS} have arrived; the server recovers from the crash …"
    ));

    wait_until("the end of the session", DEADLINE, || demo.client.batch_execute("select").is_err().then_some(()));
    demo.client = demo.cluster.connect();
    let worker = demo.worker_pid();
    demo.screen.say(&format!("and starts another worker, {worker}, which continues."));
    demo.settle();
    let requests = demo.receiver.requests_to(SLOW_PATH);
    let distinct: HashSet<_> = requests.iter().filter_map(Request::webhook_id).collect();
    let repeated = requests.len() - distinct.len();
    demo.screen.expect(
        distinct.len() == SUBMISSIONS && worker != killed,
        &format!(
            "all {SUBMISSIONS} arrived; {repeated} arrived twice, because their first response was not recorded yet"
        ),
    );
}
