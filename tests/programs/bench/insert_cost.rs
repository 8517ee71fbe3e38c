//! What does the user's INSERT cost with the triggers, compared with the same INSERT without them?

use std::time::{Duration, Instant};

use postgres::Client;

use crate::report::InsertRatio;
use crate::stand::{AUCTION, Stand};

/// Statements of one block, each a transaction of its own.
const BLOCK: usize = 250;

/// Blocks of each kind. Bare and triggered ones take turns, so that what else the machine does falls on both.
const BLOCKS: usize = 12;

/// Speed with triggers as a share of the speed without, one client.
pub fn measure(stand: &Stand) -> InsertRatio {
    InsertRatio { none: ratio(stand, 0), one: ratio(stand, 1), five: ratio(stand, 5) }
}

fn ratio(stand: &Stand, endpoints: i32) -> f64 {
    stand.set_endpoints(endpoints);
    let mut session = stand.connect();
    let (mut bare, mut triggered) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        switch_triggers(&mut session, "disable");
        bare.push(block(&mut session));
        switch_triggers(&mut session, "enable");
        triggered.push(block(&mut session));
        stand.wait_until_queue_is_empty();
    }
    let ratio = median(bare).as_secs_f64() / median(triggered).as_secs_f64();
    println!("    {endpoints} interested: {ratio:.2} of the bare INSERT's speed");
    ratio
}

fn switch_triggers(session: &mut Client, switch: &str) {
    session.batch_execute(&format!("alter table public.submissions {switch} trigger user")).expect("triggers switch");
}

fn block(session: &mut Client) -> Duration {
    let insert = session
        .prepare(
            "insert into public.submissions (auction_id, location_id, user_id)
             values ($1, '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1')",
        )
        .expect("a statement");
    let began = Instant::now();
    for _ in 0..BLOCK {
        session.execute(&insert, &[&AUCTION]).expect("an INSERT");
    }
    began.elapsed()
}

fn median(mut blocks: Vec<Duration>) -> Duration {
    blocks.sort();
    blocks[blocks.len() / 2]
}
