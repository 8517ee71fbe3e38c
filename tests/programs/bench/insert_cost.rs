//! The cost of the triggers for the user's INSERT, compared with the same INSERT without triggers.

use std::time::Instant;

use postgres::Client;

use crate::report::{FilterRatio, InsertRatio, median};
use crate::testbed::{AUCTION, Testbed};

/// Number of sessions in the shape with several sessions.
const CLIENTS: usize = 8;

/// Number of rounds. Blocks of each kind alternate, so that other load and growing tables affect
/// all kinds.
const ROUNDS: usize = 16;

/// How rows are inserted.
#[derive(Clone, Copy)]
enum Shape {
    /// One at a time, each a transaction of its own.
    One,
    /// A hundred in each statement.
    Hundred,
    /// One at a time, in eight concurrent sessions.
    EightClients,
}

impl Shape {
    fn rows(self) -> i32 {
        match self {
            Shape::One | Shape::EightClients => 1,
            Shape::Hundred => 100,
        }
    }

    /// Statements of each session in a block.
    fn statements(self) -> usize {
        match self {
            Shape::One => 250,
            Shape::Hundred => 20,
            Shape::EightClients => 60,
        }
    }

    /// Statements before each block that are not measured, because the sessions plan again after
    /// triggers and endpoints were switched.
    fn warm_up(self) -> usize {
        match self {
            Shape::One => 25,
            Shape::Hundred | Shape::EightClients => 8,
        }
    }

    /// Seconds that a block takes.
    fn block(self, sessions: &mut [Client]) -> f64 {
        let sessions = &mut sessions[..if matches!(self, Shape::EightClients) { CLIENTS } else { 1 }];
        self.insert(sessions, self.warm_up());
        let began = Instant::now();
        self.insert(sessions, self.statements());
        began.elapsed().as_secs_f64()
    }

    fn insert(self, sessions: &mut [Client], statements: usize) {
        std::thread::scope(|scope| {
            for session in sessions {
                scope.spawn(move || {
                    let insert = session
                        .prepare(
                            "insert into public.submissions (auction_id, location_id, user_id)
                             select $1, '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1'
                             from generate_series(1, $2)",
                        )
                        .expect("a statement");
                    for _ in 0..statements {
                        session.execute(&insert, &[&AUCTION, &self.rows()]).expect("an INSERT");
                    }
                });
            }
        });
    }
}

/// The cost for the user's transaction alone. Nothing is delivered, and the queue grows.
pub fn of_the_transaction_alone(testbed: &Testbed) -> InsertRatio {
    testbed.stop_worker();
    measure(testbed, || {})
}

/// The speed of an INSERT while the only endpoint has a filter that accepts or rejects the event, as
/// a share of the speed while it has none. Call it when the worker is stopped.
pub fn of_a_filter(testbed: &Testbed) -> FilterRatio {
    testbed.activate_endpoints(1);
    let mut sessions = vec![testbed.connect()];
    let (mut accepting, mut rejecting) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let [without, accepts, rejects] = [None, Some(59), Some(0)].map(|count| {
            let filter = count.map(|count| format!("$.total_car_count < {count} && $.location_name == \"North Lot\""));
            testbed.set_filter(filter.as_deref());
            Shape::One.block(&mut sessions)
        });
        accepting.push(without / accepts);
        rejecting.push(without / rejects);
    }
    testbed.set_filter(None);
    FilterRatio { accepts: median(&accepting), rejects: median(&rejecting) }
}

/// The cost that the user sees on a machine that also delivers, where worker and receiver use the
/// same processors.
pub fn while_delivering(testbed: &Testbed) -> InsertRatio {
    measure(testbed, || testbed.wait_until_queue_is_empty())
}

/// Speed with triggers as a share of the speed without them.
fn measure(testbed: &Testbed, after_block: impl Fn()) -> InsertRatio {
    testbed.set_endpoints(5);
    let mut sessions: Vec<Client> = (0..CLIENTS).map(|_| testbed.connect()).collect();
    let mut ratios = |shape: Shape, interested: &[i32]| -> Vec<f64> {
        let mut of_rounds = vec![Vec::new(); interested.len()];
        for _ in 0..ROUNDS {
            testbed.cluster.execute("alter table public.submissions disable trigger user");
            let bare = shape.block(&mut sessions);
            testbed.cluster.execute("alter table public.submissions enable trigger user");
            for (interested, ratios) in interested.iter().zip(&mut of_rounds) {
                testbed.activate_endpoints(*interested);
                ratios.push(bare / shape.block(&mut sessions));
                after_block();
            }
        }
        of_rounds.iter().map(|ratios| median(ratios)).collect()
    };
    let [none, one, five] = ratios(Shape::One, &[0, 1, 5])[..] else { unreachable!("three were asked for") };
    let hundred_rows = ratios(Shape::Hundred, &[1])[0];
    let eight_clients = ratios(Shape::EightClients, &[1])[0];
    InsertRatio { none, one, five, hundred_rows, eight_clients }
}
