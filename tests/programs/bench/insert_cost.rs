//! What does the user's INSERT cost with the triggers, compared with the same INSERT without them?

use std::time::Instant;

use postgres::Client;

use crate::report::{InsertRatio, median};
use crate::stand::{AUCTION, Stand};

/// Statements of one block, each a transaction of its own.
const BLOCK: usize = 250;

/// Statements before each block that do not count: switching triggers and endpoints makes the session plan anew.
const WARM_UP: usize = 25;

/// Blocks of each kind. They take turns, so that what else the machine does, and growing tables, fall on all of them.
const ROUNDS: usize = 16;

/// What the user's transaction itself costs: nothing is delivered meanwhile, and the queue grows.
pub fn of_the_transaction_alone(stand: &Stand) -> InsertRatio {
    stand.stop_worker();
    measure(stand, || {})
}

/// What the user sees on a machine that also delivers: worker and receiver compete with him for the processors.
pub fn while_delivering(stand: &Stand) -> InsertRatio {
    measure(stand, || stand.wait_until_queue_is_empty())
}

/// Speed with triggers as a share of the speed without, one client.
fn measure(stand: &Stand, after_block: impl Fn()) -> InsertRatio {
    stand.set_endpoints(5);
    let mut session = stand.connect();
    let (mut bare, mut none, mut one, mut five) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        session.batch_execute("alter table public.submissions disable trigger user").expect("triggers switch");
        bare.push(block(&mut session));
        session.batch_execute("alter table public.submissions enable trigger user").expect("triggers switch");
        for (interested, blocks) in [(0, &mut none), (1, &mut one), (5, &mut five)] {
            stand.activate_endpoints(interested);
            blocks.push(block(&mut session));
            after_block();
        }
    }
    let ratio = |triggered: Vec<f64>| {
        let of_rounds: Vec<f64> = bare.iter().zip(&triggered).map(|(bare, triggered)| bare / triggered).collect();
        median(&of_rounds)
    };
    InsertRatio { none: ratio(none), one: ratio(one), five: ratio(five) }
}

/// Seconds that a block takes.
fn block(session: &mut Client) -> f64 {
    let insert = session
        .prepare(
            "insert into public.submissions (auction_id, location_id, user_id)
             values ($1, '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1')",
        )
        .expect("a statement");
    let mut insert_rows = |count| {
        for _ in 0..count {
            session.execute(&insert, &[&AUCTION]).expect("an INSERT");
        }
    };
    insert_rows(WARM_UP);
    let began = Instant::now();
    insert_rows(BLOCK);
    began.elapsed().as_secs_f64()
}
