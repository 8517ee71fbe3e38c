//! The worker is killed in the middle of its work, and nothing is lost.

use std::collections::HashSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use webhook_harness::sample::{HILLTOP, MAIN_LOT};
use webhook_harness::{DEADLINE, Request, wait_until};

use crate::stage::Stage;

/// Each answer takes 25 ms, so that there is a middle.
const SLOW: &str = "/slow/25";

const SUBMISSIONS: usize = 300;

/// Killed with the first sixth of the deliveries made.
const KILLED_AFTER: usize = SUBMISSIONS / 6;

/// Commits more than the worker can send at once, and kills it.
pub fn of_the_worker(stage: &mut Stage) {
    stage.screen.heading("The worker is killed in the middle of its work");
    stage.create_good_endpoint(HILLTOP, SLOW, "submission.created");
    let killed = stage.worker_pid();
    stage.run(&format!(
        "insert into submissions (auction_id, location_id)
select '{HILLTOP}', '{MAIN_LOT}' from generate_series(1, {SUBMISSIONS});"
    ));
    stage.committed(SLOW, SUBMISSIONS);
    let arrived = wait_until("the first deliveries", DEADLINE, || {
        Some(stage.receiver.requests_to(SLOW).len()).filter(|&count| count >= KILLED_AFTER)
    });
    stage
        .run_and_show("select pid, state, query from pg_stat_activity where backend_type = 'webhook_delivery worker';");
    kill(Pid::from_raw(killed), Signal::SIGKILL).expect("the worker can be killed");
    stage.screen.say(&format!(
        "kill -9 {killed}, when {arrived} of {SUBMISSIONS} had arrived; the server recovers from the crash …"
    ));

    wait_until("the end of the session", DEADLINE, || stage.client.batch_execute("select").is_err().then_some(()));
    stage.client = stage.cluster.connect();
    let worker = stage.worker_pid();
    stage.screen.say(&format!("and starts another worker, {worker}, which goes on."));
    stage.settle();
    let requests = stage.receiver.requests_to(SLOW);
    let distinct: HashSet<_> = requests.iter().filter_map(Request::webhook_id).collect();
    let repeated = requests.len() - distinct.len();
    stage.screen.expect(
        distinct.len() == SUBMISSIONS && worker != killed,
        &format!(
            "all {SUBMISSIONS} arrived; {repeated} a second time, because their first answer was not recorded yet"
        ),
    );
}
