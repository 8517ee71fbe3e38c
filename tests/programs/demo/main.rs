//! The demonstration: the extension on real input, from the row change to the recorded attempt.
//!
//! Everything is executed exactly as it is shown, on a private server and over TCP. By default it
//! prints each step with its outcome, with `VERBOSE=1` also statements, requests and results. The
//! exit status is 0 only if all committed deliveries arrived, correctly signed, and every other
//! expectation was met.

mod demo;
mod event_families;
mod json_format;
mod recovery;
mod rest_api;
mod retries;
mod screen;
mod table;
mod tally;
mod verifiers;
mod worker_crash;

use std::io::IsTerminal;
use std::process::ExitCode;

use uuid::{Uuid, uuid};
use webhook_harness::rest::token_of;
use webhook_harness::sample::{DANA, NORTH_LOT, RIVERSIDE, SEDAN, TRUCK};
use webhook_harness::{Endpoint, installation};

use demo::Demo;
use table::Table;

const APPLICATION: &str =
    concat!(include_str!("../../../sql/auction/schema.sql"), include_str!("../../../sql/auction/sample.sql"));

/// Ids that the application gives its submissions.
const COUNTED: Uuid = uuid!("5ab11000-0000-4000-8000-000000000001");
const ROLLED_BACK: Uuid = uuid!("5ab11000-0000-4000-8000-000000000002");

const SUBMISSIONS: &str = "/riverside";
const SHIFTS: &str = "/shifts";

fn main() -> ExitCode {
    println!(
        "The path of a webhook: a row change, the signed request, retries, the history, and a worker that is killed.\n\
         Everything runs under target/: PostgreSQL {}, a receiver on 127.0.0.1, a REST server. VERBOSE=1 shows all of it.",
        installation().major()
    );
    let mut demo = Demo::set_up();
    extension(&mut demo);
    endpoint(&mut demo);
    submission(&mut demo);
    rollback(&mut demo);
    edit(&mut demo);
    event_families::of_every_family(&mut demo);
    let endpoint = custom_event(&mut demo);
    test_call(&mut demo, &endpoint);
    let over_http = rest_api::calls(&mut demo);
    let failing = retries::endpoint(&mut demo);
    history(&mut demo, over_http);
    retries::retries(&mut demo, &failing);
    worker_crash::of_the_worker(&mut demo);
    recovery::of_the_failing_endpoint(&mut demo, &failing);
    result(&mut demo)
}

fn extension(demo: &mut Demo) {
    demo.screen.heading("The extension in a database with an application's tables");
    Table::query(&mut demo.client, APPLICATION);
    demo.screen.say("(sql/auction/schema.sql and sample.sql are loaded: an auction house with lots and people)");
    demo.run("create extension webhook_delivery;");
    let report = demo.run_and_show(
        "select table_name, result, string_agg(distinct event_type, ', ') as events
from webhook_delivery.install_triggers() group by table_name, result order by 3, 1;",
    );
    let nothing_missing = (0..report.len()).all(|row| ["installed", "found"].contains(&report.cell(row, "result")));
    demo.screen.expect(nothing_missing, "no table is missing");
    demo.worker_pid();
}

fn endpoint(demo: &mut Demo) {
    demo.screen.heading("A customer's endpoint");
    let endpoint = demo.create_healthy_endpoint(RIVERSIDE, SUBMISSIONS, "submission.*");
    demo.wait_for_partitions();
    let secret = Table::query(&mut demo.client, "select secret from webhook_endpoints").cell(0, "secret").to_owned();
    let is_hint = secret.len() == 7 && endpoint.secret.ends_with(secret.trim_start_matches('.'));
    demo.screen.expect(is_hint, &format!("the secret was shown once; from now on only {secret} is readable"));
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

fn submission(demo: &mut Demo) {
    demo.screen.heading("The application inserts a submission and its entries in one transaction");
    demo.run(&insert_submission(COUNTED, "commit"));
    let request = demo.show_arrival(SUBMISSIONS);
    let body = request.json();
    let is_complete = request.event() == Some("submission.created")
        && body["data"]["total_car_count"] == 59
        && body["data"]["entries"].as_array().is_some_and(|entries| entries.len() == 2);
    demo.screen.expect(is_complete, "one submission.created, with the entries that were inserted after the submission");
}

fn rollback(demo: &mut Demo) {
    demo.screen.heading("The same statements with another id, and rollback instead of commit, send nothing");
    Table::query(&mut demo.client, &insert_submission(ROLLED_BACK, "rollback"));
    let deliveries = demo.run_and_show("select count(*) from webhook_deliveries;");
    demo.screen.expect(deliveries.cell(0, "count") == "1", "there is only the earlier delivery");
}

fn edit(demo: &mut Demo) {
    demo.screen.heading("An edit");
    demo.run(&format!(
        "update submission_entries set car_count = 44\nwhere submission_id = '{COUNTED}' and position = 1;"
    ));
    let request = demo.show_arrival(SUBMISSIONS);
    let data = &request.json()["data"];
    let is_edit = request.event() == Some("submission.updated") && data["total_car_count"] == 61;
    demo.screen.expect(is_edit && data["id"] == COUNTED.to_string(), "one submission.updated, with the new total");
}

fn custom_event(demo: &mut Demo) -> Endpoint {
    demo.screen.heading("A custom event, from any code in the database");
    demo.run(
        "select webhook_delivery.register_event_type('shift.ended', 'A shift on a lot has ended',
    schema => webhook_delivery.schema_of('{\"lot\": \"string\", \"cars\": \"integer\"}'),
    example => '{\"lot\": \"North Lot\", \"cars\": 100}');",
    );
    let endpoint = demo.create_healthy_endpoint(RIVERSIDE, SHIFTS, "shift.ended");
    demo.run(&format!(
        "select webhook_delivery.emit('shift.ended', '{RIVERSIDE}', '{{\"lot\": \"North Lot\", \"cars\": 61}}');"
    ));
    let request = demo.show_arrival(SHIFTS);
    let is_custom = request.event() == Some("shift.ended")
        && request.json()["data"]["cars"] == 61
        && demo.receiver.count() == 3 + event_families::SHOWN;
    demo.screen.expect(is_custom, "only the endpoint that subscribes to it receives it");
    endpoint
}

fn test_call(demo: &mut Demo, endpoint: &Endpoint) {
    demo.screen.heading("A customer tests the endpoint");
    let answer = demo
        .run(&format!("select * from test_webhook(endpoint_id => '{}', event_type => 'shift.ended');", endpoint.id));
    demo.screen.quote(&format!(
        "delivery_id: {}   status: {}",
        answer.cell(0, "delivery_id"),
        answer.cell(0, "status")
    ));
    demo.screen.quote(&format!("follow: {}", answer.cell(0, "follow")));
    let request = demo.show_arrival(SHIFTS);
    let is_the_test = request.webhook_id().is_some_and(|id| id.to_string() == answer.cell(0, "delivery_id"))
        && request.json()["data"]["cars"] == 100;
    demo.screen.expect(is_the_test, "the catalogue's example arrived with the id that the call returned");
    demo.settle();
    let followed = Table::query(&mut demo.client, answer.cell(0, "follow"));
    let succeeded = followed.cell(0, "status") == "success" && followed.cell(0, "is_test") == "t";
    demo.screen.expect(succeeded, "the query in follow returns success, and that it was a test");
}

fn history(demo: &mut Demo, over_http: usize) {
    demo.screen.heading("The history");
    demo.settle();
    let history = demo.run_and_show(
        "select left(id::text, 8) || '…' || right(id::text, 4) as id, event_type, status, attempts, response_status_code as code,
    response_time_ms as ms, error_message, is_test as test, to_char(next_attempt_at, 'HH24:MI:SS') as next_attempt
from webhook_deliveries order by created_at;",
    );
    let succeeded = (0..history.len()).filter(|&row| history.cell(row, "status") == "success").count();
    let expected = 4 + event_families::SHOWN + over_http;
    let what = format!("{expected} deliveries succeeded, one will be retried");
    demo.screen.expect(succeeded == expected && history.len() == expected + 1, &what);
}

/// Says where the administrator's page is, and keeps it there until Enter is pressed.
fn show_page(demo: &Demo) {
    let Some(rest) = &demo.rest else { return };
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return;
    }
    println!(
        "\nThe administrator's page: {}/rpc/webhook_admin\nSign in with this token:\n{}",
        rest.url(),
        token_of(DANA)
    );
    println!("Press Enter to end.");
    // Nothing is lost if the input cannot be read: the demonstration ends.
    _ = std::io::stdin().read_line(&mut String::new());
}

/// Prints the summary.
fn result(demo: &mut Demo) -> ExitCode {
    demo.screen.heading("What was committed, and what arrived");
    let tally = demo.tally();
    let recorded = Table::query(&mut demo.client, "select id from webhook_deliveries where status = 'success'");
    let ids = (0..recorded.len()).map(|row| recorded.cell(row, "id").parse().expect("an id")).collect();
    demo.screen.expect(tally.ids == ids, "the history has exactly one success for each delivery that arrived");
    let rolled_back = ROLLED_BACK.to_string();
    let rolled_back_arrivals =
        demo.receiver.requests().iter().filter(|request| request.text().contains(&rolled_back)).count();
    demo.screen.expect(rolled_back_arrivals == 0 && tally.unexpected == 0, "nothing arrived that was not committed");
    let all_passed = tally.is_complete() && demo.screen.all_passed();
    println!(
        "\ndemo: {} delivered, {} signatures valid ({}), {} lost",
        tally.delivered,
        tally.valid,
        demo.verifiers.names(),
        tally.lost
    );
    show_page(demo);
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
