//! The demonstration: what the extension does on real input, from the row change to the recorded attempt.
//!
//! Everything shown is executed as shown, on a private server and over TCP. The last line says what arrived of what was committed;
//! the exit status is 0 only if all of it did, correctly signed, and nothing else shown was other than it should be.

mod crash;
mod failing;
mod families;
mod json;
mod judges;
mod recovery;
mod rest;
mod screen;
mod stage;
mod table;
mod tally;

use std::process::ExitCode;

use uuid::{Uuid, uuid};
use webhook_harness::sample::{DANA, NORTH_LOT, RIVERSIDE, SEDAN, TRUCK};
use webhook_harness::{Endpoint, installation};

use stage::Stage;
use table::Table;

const APPLICATION: &str =
    concat!(include_str!("../../../sql/auction/schema.sql"), include_str!("../../../sql/auction/sample.sql"));

/// Ids that the application gives its submissions.
const COUNTED: Uuid = uuid!("5ab11000-0000-4000-8000-000000000001");
const ROLLED_BACK: Uuid = uuid!("5ab11000-0000-4000-8000-000000000002");

const SUBMISSIONS: &str = "/riverside";
const SHIFTS: &str = "/shifts";

fn main() -> ExitCode {
    println!("Starting a private PostgreSQL {} under target/ and a receiver on 127.0.0.1 …", installation().major());
    let mut stage = Stage::set_up();
    extension(&mut stage);
    endpoint(&mut stage);
    submission(&mut stage);
    rollback(&mut stage);
    edit(&mut stage);
    families::of_every_family(&mut stage);
    let endpoint = own_event(&mut stage);
    test_call(&mut stage, &endpoint);
    let over_http = rest::calls(&mut stage);
    let failing = failing::endpoint(&mut stage);
    history(&mut stage, over_http);
    failing::retries(&mut stage, &failing);
    crash::of_the_worker(&mut stage);
    recovery::of_the_failing_endpoint(&mut stage, &failing);
    result(&mut stage)
}

fn extension(stage: &mut Stage) {
    stage.screen.heading("The extension in a database with an application's tables");
    Table::query(&mut stage.client, APPLICATION);
    stage.screen.say("(sql/auction/schema.sql and sample.sql are loaded: an auction house with lots and people)");
    stage.run("create extension webhook_delivery;");
    let report = stage.run_and_show(
        "select table_name, result, string_agg(distinct event_type, ', ') as events
from webhook_delivery.install_triggers() group by table_name, result order by 3, 1;",
    );
    let nothing_missing = (0..report.len()).all(|row| ["installed", "found"].contains(&report.cell(row, "result")));
    stage.screen.expect(nothing_missing, "no table is missing");
    // Its first turn makes the day's partitions; the latency shown for the first request should be that of any other.
    stage.worker_pid();
}

fn endpoint(stage: &mut Stage) {
    stage.screen.heading("A customer's endpoint");
    let endpoint = stage.create_good_endpoint(RIVERSIDE, SUBMISSIONS, "submission.*");
    let secret = Table::query(&mut stage.client, "select secret from webhook_endpoints").cell(0, "secret").to_owned();
    let is_hint = secret.len() == 7 && endpoint.secret.ends_with(secret.trim_start_matches('.'));
    stage.screen.expect(is_hint, &format!("the secret was shown this once; from now on one reads only {secret}"));
}

fn insert_submission(id: Uuid, ending: &str) -> String {
    format!(
        "begin;
insert into submissions (id, auction_id, location_id, user_id)
values ('{id}', '{RIVERSIDE}',
        '{NORTH_LOT}', '{DANA}');
insert into submission_entries (submission_id, type_id, position, car_count)
values ('{id}', '{SEDAN}', 1, 42),
       ('{id}', '{TRUCK}', 2, 17);
{ending};"
    )
}

fn submission(stage: &mut Stage) {
    stage.screen.heading("The application inserts a submission and its entries in one transaction");
    stage.run(&insert_submission(COUNTED, "commit"));
    let request = stage.show_arrival(SUBMISSIONS);
    let body = request.json();
    let is_complete = request.event() == Some("submission.created")
        && body["data"]["total_car_count"] == 59
        && body["data"]["entries"].as_array().is_some_and(|entries| entries.len() == 2);
    stage.screen.expect(is_complete, "one submission.created, with the entries that came after the submission");
}

fn rollback(stage: &mut Stage) {
    stage.screen.heading("The same statements with another id, and rollback instead of commit, send nothing");
    Table::query(&mut stage.client, &insert_submission(ROLLED_BACK, "rollback"));
    let deliveries = stage.run_and_show("select count(*) from webhook_deliveries;");
    stage.screen.expect(deliveries.cell(0, "count") == "1", "there is only the delivery of before");
}

fn edit(stage: &mut Stage) {
    stage.screen.heading("An edit");
    stage.run(&format!(
        "update submission_entries set car_count = 44\nwhere submission_id = '{COUNTED}' and position = 1;"
    ));
    let request = stage.show_arrival(SUBMISSIONS);
    let data = &request.json()["data"];
    let is_edit = request.event() == Some("submission.updated") && data["total_car_count"] == 61;
    stage.screen.expect(is_edit && data["id"] == COUNTED.to_string(), "one submission.updated, with the new total");
}

fn own_event(stage: &mut Stage) -> Endpoint {
    stage.screen.heading("An event of one's own, from any code in the database");
    stage.run(
        "select webhook_delivery.register_event_type('shift.ended', 'A shift on a lot has ended',
    schema => webhook_delivery.schema_of('{\"lot\": \"string\", \"cars\": \"integer\"}'),
    example => '{\"lot\": \"North Lot\", \"cars\": 100}');",
    );
    let endpoint = stage.create_good_endpoint(RIVERSIDE, SHIFTS, "shift.ended");
    stage.run(&format!(
        "select webhook_delivery.emit('shift.ended', '{RIVERSIDE}', '{{\"lot\": \"North Lot\", \"cars\": 61}}');"
    ));
    let request = stage.show_arrival(SHIFTS);
    let is_own = request.event() == Some("shift.ended")
        && request.json()["data"]["cars"] == 61
        && stage.receiver.count() == 3 + families::SHOWN;
    stage.screen.expect(is_own, "it goes to the endpoint that wants it, and to no other");
    endpoint
}

fn test_call(stage: &mut Stage, endpoint: &Endpoint) {
    stage.screen.heading("A customer tests the endpoint");
    let answer = stage
        .run(&format!("select * from test_webhook(endpoint_id => '{}', event_type => 'shift.ended');", endpoint.id));
    stage.screen.quote(&format!(
        "delivery_id: {}   status: {}",
        answer.cell(0, "delivery_id"),
        answer.cell(0, "status")
    ));
    stage.screen.quote(&format!("follow: {}", answer.cell(0, "follow")));
    let request = stage.show_arrival(SHIFTS);
    let is_the_test = request.webhook_id().is_some_and(|id| id.to_string() == answer.cell(0, "delivery_id"))
        && request.json()["data"]["cars"] == 100;
    stage.screen.expect(is_the_test, "the catalogue's example came, under the id that the call returned");
    stage.settle();
    let followed = Table::query(&mut stage.client, answer.cell(0, "follow"));
    let succeeded = followed.cell(0, "status") == "success" && followed.cell(0, "is_test") == "t";
    stage.screen.expect(succeeded, "the query to follow says success, and that it was a test");
}

fn history(stage: &mut Stage, over_http: usize) {
    stage.screen.heading("The history");
    stage.settle();
    let history = stage.run_and_show(
        "select left(id::text, 8) || '…' || right(id::text, 4) as id, event_type, status, attempts, response_status_code as code,
    response_time_ms as ms, error_message, is_test as test, to_char(next_attempt_at, 'HH24:MI:SS') as next_attempt
from webhook_deliveries order by created_at;",
    );
    let succeeded = (0..history.len()).filter(|&row| history.cell(row, "status") == "success").count();
    let expected = 4 + families::SHOWN + over_http;
    let what = format!("{expected} deliveries succeeded, one will be tried again");
    stage.screen.expect(succeeded == expected && history.len() == expected + 1, &what);
}

/// Prints the last line.
fn result(stage: &mut Stage) -> ExitCode {
    stage.screen.heading("What was committed, and what arrived");
    let tally = stage.tally();
    let recorded = Table::query(&mut stage.client, "select id from webhook_deliveries where status = 'success'");
    let ids = (0..recorded.len()).map(|row| recorded.cell(row, "id").parse().expect("an id")).collect();
    stage.screen.expect(tally.ids == ids, "the history has a success for each arrival, and no other");
    let rolled_back = ROLLED_BACK.to_string();
    let stray = stage.receiver.requests().iter().filter(|request| request.text().contains(&rolled_back)).count();
    stage.screen.expect(stray == 0 && tally.uncalled_for == 0, "nothing arrived that was not committed");
    let is_all_well = tally.is_complete() && stage.screen.is_all_well();
    println!("\ndemo: {} delivered, {} signatures valid, {} lost", tally.delivered, tally.valid, tally.lost);
    if is_all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
