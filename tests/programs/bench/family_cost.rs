//! The cost of an event of each family for the statement that causes it, with one interested
//! endpoint.

use std::collections::BTreeMap;
use std::time::Instant;

use postgres::Client;

use crate::report::median;
use crate::testbed::Testbed;

/// Statements in each block, each a transaction of its own.
const BLOCK: usize = 200;

/// Statements before each block that are not measured, because the session plans again after
/// triggers were switched.
const WARM_UP: usize = 20;

/// Blocks of each kind. They alternate, so that other load affects both kinds.
const ROUNDS: usize = 8;

/// A family, the table that changes, and a statement that causes an event of the family.
const FAMILIES: [(&str, &str, &str); 6] = [
    (
        "submission",
        "submissions",
        "insert into submissions (auction_id, location_id, user_id) values
             ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1')",
    ),
    (
        "inspection",
        "inspections",
        "insert into inspections (auction_id, location_id, user_id, vin_number) values
             ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1', 'VIN')",
    ),
    (
        "problem",
        "problems",
        "update problems set status = case status when 'open' then 'in_progress' else 'open' end
         where id = 'be000000-0000-4000-8000-000000000001'",
    ),
    (
        "message",
        "messages",
        "insert into messages (auction_id, channel_id, user_id, content) values
             ('00000000-0000-4000-8000-000000000001', 'be000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-0000000000a1', 'hello')",
    ),
    (
        "channel",
        "channels",
        "insert into channels (auction_id, name, created_by) values
             ('00000000-0000-4000-8000-000000000001', 'general', '00000000-0000-4000-8000-0000000000a1')",
    ),
    (
        "member",
        "auction_members",
        "update auction_members set role = case role when 'member' then 'admin' else 'member' end
         where user_id = '00000000-0000-4000-8000-0000000000a2'",
    ),
];

/// The rows that some of the statements change.
const ROWS: &str = "
    insert into problems (id, auction_id, issue_name, prepared_by) values
        ('be000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'A gate', '00000000-0000-4000-8000-0000000000a1');
    insert into channels (id, auction_id, name) values
        ('be000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'general')";

/// Speed with triggers as a share of the speed without them, with one client, while nothing is
/// delivered.
pub fn measure(testbed: &Testbed) -> BTreeMap<&'static str, f64> {
    testbed.cluster.execute("update webhook_endpoints set events = '{*}'");
    testbed.activate_endpoints(1);
    let mut session = testbed.connect();
    session.batch_execute(ROWS).expect("rows to change");
    FAMILIES
        .iter()
        .map(|(family, table, statement)| {
            let ratios: Vec<f64> = (0..ROUNDS)
                .map(|_| {
                    let mut with_triggers = |switch| {
                        let alter = format!("alter table {table} {switch} trigger user");
                        session.batch_execute(&alter).expect("triggers switch");
                        block(&mut session, statement)
                    };
                    with_triggers("disable") / with_triggers("enable")
                })
                .collect();
            (*family, median(&ratios))
        })
        .collect()
}

/// Seconds that a block takes.
fn block(session: &mut Client, statement: &str) -> f64 {
    let statement = session.prepare(statement).expect("a statement");
    let mut execute = |count| {
        for _ in 0..count {
            session.execute(&statement, &[]).expect("the statement");
        }
    };
    execute(WARM_UP);
    let began = Instant::now();
    execute(BLOCK);
    began.elapsed().as_secs_f64()
}
