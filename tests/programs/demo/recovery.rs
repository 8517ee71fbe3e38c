//! "Our webhook did not arrive": how to find the cause and recover the failed deliveries.

use webhook_harness::{DEADLINE, Endpoint, wait_until};

use crate::demo::Demo;
use crate::retries::FAILING_PATH;
use crate::table::Table;

const REPAIRED_PATH: &str = "/repaired";

/// Diagnoses the failing endpoint, repairs it, and recovers its failed deliveries.
pub fn of_the_failing_endpoint(demo: &mut Demo, endpoint: &Endpoint) {
    demo.screen.heading("\"Our webhook did not arrive\": the cause, and what to do");
    let diagnosis = diagnose(demo, endpoint);
    let advice = (0..diagnosis.len()).map(|row| diagnosis.cell(row, "what_to_do")).collect::<Vec<_>>().join(" ");
    let names_response = (0..diagnosis.len()).any(|row| diagnosis.cell(row, "result").contains("status 503"));
    demo.screen.expect(
        names_response && advice.contains("recover_webhooks()"),
        "it names the receiver's response and the call to make",
    );

    demo.screen.say("(the customer repairs the receiver; here the endpoint gets another path)");
    demo.run(&format!(
        "update webhook_endpoints set url = '{}'\nwhere id = '{}';",
        demo.receiver.url(REPAIRED_PATH),
        endpoint.id
    ));
    demo.expect_at(REPAIRED_PATH, &endpoint.secret);
    let recover = |dry_run: &str| {
        format!("select recover_webhooks('{}', since => now() - interval '1 day'{dry_run});", endpoint.id)
    };
    let counted = demo.run_and_show(&recover(", dry_run => true"));
    demo.run(&recover(""));
    demo.committed(REPAIRED_PATH, 1);
    let request = wait_until("the request", DEADLINE, || demo.receiver.requests_to(REPAIRED_PATH).into_iter().next());
    let before = demo.receiver.requests_to(FAILING_PATH);
    let is_same =
        before.iter().all(|earlier| earlier.body == request.body && earlier.webhook_id() == request.webhook_id());
    demo.screen.expect(
        is_same && counted.cell(0, "recover_webhooks") == "1",
        "the failed delivery arrived, with the same id and bytes as in its six attempts",
    );
    wait_until("the recovery to be recorded", DEADLINE, || {
        let query = format!(
            "select 1 from webhook_endpoint_health where endpoint_id = '{}' and failing_since is null and queued = 0",
            endpoint.id
        );
        (Table::query(&mut demo.client, &query).len() == 1).then_some(())
    });
    let remaining = diagnose(demo, endpoint);
    demo.screen.expect(remaining.len() == 0, "the diagnosis finds no problem any more");
}

/// Shows and returns the problems that the diagnosis finds.
fn diagnose(demo: &mut Demo, endpoint: &Endpoint) -> Table {
    let diagnosis = demo.run(&format!(
        "select question, result, what_to_do\nfrom diagnose_webhook('{}') where is_fine is not true;",
        endpoint.id
    ));
    for row in 0..diagnosis.len() {
        demo.screen.quote(&format!("{} {}", diagnosis.cell(row, "question"), diagnosis.cell(row, "result")));
        demo.screen.quote(&format!("  → {}", diagnosis.cell(row, "what_to_do")));
    }
    if diagnosis.len() == 0 {
        demo.screen.quote("(no rows)");
    }
    diagnosis
}
