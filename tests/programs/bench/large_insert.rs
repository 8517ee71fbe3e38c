//! What a million rows in one INSERT cost the session that inserts them.

use std::time::Instant;

use crate::patience::wait_for;
use crate::process;
use crate::report::LargeInsert;
use crate::stand::{AUCTION, Stand};

pub const ROWS: i64 = 1_000_000;

/// Without triggers, with nobody interested, and with one endpoint, which then receives all of them.
pub fn measure(stand: &Stand) -> LargeInsert {
    stand.set_endpoints(1);
    stand.activate_endpoints(0);
    stand.cluster.execute("alter table public.submissions disable trigger user");
    let bare = insert(stand);
    stand.cluster.execute("alter table public.submissions enable trigger user");
    let none = insert(stand);
    stand.activate_endpoints(1);
    stand.receiver.reset();
    let one = insert(stand);
    wait_for("the last request", ROWS as u64, || stand.receiver.stats().distinct_ids);
    stand.wait_until_queue_is_empty();
    LargeInsert { bare_s: bare.0, none_s: none.0, one_s: one.0, none_mb: none.1, one_mb: one.1 }
}

/// Seconds, and the session's own memory at its peak in MiB.
fn insert(stand: &Stand) -> (f64, f64) {
    stand.cluster.execute("truncate public.submissions cascade; checkpoint");
    // A session of its own, whose peak is that of this INSERT.
    let mut session = stand.connect();
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).expect("a process").get(0);
    let sql = "insert into public.submissions (auction_id, location_id, user_id)
        select $1, '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1' from generate_series(1, $2::bigint)";
    let began = Instant::now();
    session.execute(sql, &[&AUCTION, &ROWS]).expect("a million rows");
    (began.elapsed().as_secs_f64(), process::peak_own_mb(pid))
}
