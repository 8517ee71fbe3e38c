//! What the user's INSERT costs with the triggers, compared with the same INSERT without them.

use std::time::Instant;

use postgres::Client;

use crate::report::{InsertRatio, median};
use crate::stand::{AUCTION, Stand};

/// Sessions of the shape with several.
const CLIENTS: usize = 8;

/// Rounds. Blocks of each kind take turns, so that what else the machine does, and growing tables, fall on all of them.
const ROUNDS: usize = 16;

/// How rows are inserted.
#[derive(Clone, Copy)]
enum Shape {
    /// One at a time, each a transaction of its own.
    One,
    /// A hundred by each statement.
    Hundred,
    /// One at a time, by eight sessions at once.
    EightClients,
}

impl Shape {
    fn rows(self) -> i32 {
        match self {
            Shape::One | Shape::EightClients => 1,
            Shape::Hundred => 100,
        }
    }

    /// Statements of one block, by each session.
    fn statements(self) -> usize {
        match self {
            Shape::One => 250,
            Shape::Hundred => 20,
            Shape::EightClients => 60,
        }
    }

    /// Statements before each block that do not count: switching triggers and endpoints makes the sessions plan anew.
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

/// What the user's transaction itself costs: nothing is delivered meanwhile, and the queue grows.
pub fn of_the_transaction_alone(stand: &Stand) -> InsertRatio {
    stand.stop_worker();
    measure(stand, || {})
}

/// What the user sees on a machine that also delivers: worker and receiver compete with him for the processors.
pub fn while_delivering(stand: &Stand) -> InsertRatio {
    measure(stand, || stand.wait_until_queue_is_empty())
}

/// Speed with triggers as a share of the speed without.
fn measure(stand: &Stand, after_block: impl Fn()) -> InsertRatio {
    stand.set_endpoints(5);
    let mut sessions: Vec<Client> = (0..CLIENTS).map(|_| stand.connect()).collect();
    let mut ratios = |shape: Shape, interested: &[i32]| -> Vec<f64> {
        let mut of_rounds = vec![Vec::new(); interested.len()];
        for _ in 0..ROUNDS {
            stand.cluster.execute("alter table public.submissions disable trigger user");
            let bare = shape.block(&mut sessions);
            stand.cluster.execute("alter table public.submissions enable trigger user");
            for (interested, ratios) in interested.iter().zip(&mut of_rounds) {
                stand.activate_endpoints(*interested);
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
