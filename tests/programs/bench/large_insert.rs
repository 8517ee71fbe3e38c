//! The cost of a million rows in one INSERT for the session that inserts them.

use std::time::Instant;

use crate::process_usage;
use crate::progress::wait_for;
use crate::report::LargeInsert;
use crate::testbed::{AUCTION, Testbed};

pub const ROWS: i64 = 1_000_000;

/// Measures without triggers, without an interested endpoint, and with one endpoint, which receives
/// all rows.
pub fn measure(testbed: &Testbed) -> LargeInsert {
    testbed.set_endpoints(1);
    testbed.activate_endpoints(0);
    testbed.cluster.execute("alter table public.submissions disable trigger user");
    let bare = insert(testbed);
    testbed.cluster.execute("alter table public.submissions enable trigger user");
    let none = insert(testbed);
    testbed.activate_endpoints(1);
    testbed.receiver.reset();
    let one = insert(testbed);
    wait_for("the last request", ROWS as u64, || testbed.receiver.stats().distinct_ids);
    testbed.wait_until_queue_is_empty();
    LargeInsert { bare_s: bare.0, none_s: none.0, one_s: one.0, none_mb: none.1, one_mb: one.1 }
}

/// Returns the seconds, and the session's peak of private memory in MiB.
fn insert(testbed: &Testbed) -> (f64, f64) {
    testbed.cluster.execute("truncate public.submissions cascade; checkpoint");
    // A new session, so that its peak is the peak of this INSERT.
    let mut session = testbed.connect();
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).expect("a process").get(0);
    let sql = "insert into public.submissions (auction_id, location_id, user_id)
        select $1, '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1' from generate_series(1, $2::bigint)";
    let began = Instant::now();
    session.execute(sql, &[&AUCTION, &ROWS]).expect("a million rows");
    (began.elapsed().as_secs_f64(), process_usage::peak_own_mb(pid))
}
