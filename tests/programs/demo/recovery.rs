//! "Our webhook did not arrive": how to find out why, and how to make it good.

use webhook_harness::{DEADLINE, Endpoint, wait_until};

use crate::failing::BROKEN;
use crate::stage::Stage;
use crate::table::Table;

const MENDED: &str = "/mended";

/// Diagnoses the endpoint that has failed, mends it, and sends what it has missed.
pub fn of_the_failing_endpoint(stage: &mut Stage, endpoint: &Endpoint) {
    stage.screen.heading("\"Our webhook did not arrive\": why, and what to do");
    let diagnosis = diagnose(stage, endpoint);
    let advice = (0..diagnosis.len()).map(|row| diagnosis.cell(row, "what_to_do")).collect::<Vec<_>>().join(" ");
    let names_it = (0..diagnosis.len()).any(|row| diagnosis.cell(row, "result").contains("status 503"));
    stage.screen.expect(
        names_it && advice.contains("recover_webhooks()"),
        "it names the receiver's answer and the call to make",
    );

    stage.screen.say("(the customer mends his receiver; here by another path)");
    stage.run(&format!(
        "update webhook_endpoints set url = '{}'\nwhere id = '{}';",
        stage.receiver.url(MENDED),
        endpoint.id
    ));
    stage.expect_at(MENDED, &endpoint.secret);
    let recover = |dry_run: &str| {
        format!("select recover_webhooks('{}', since => now() - interval '1 day'{dry_run});", endpoint.id)
    };
    let counted = stage.run_and_show(&recover(", dry_run => true"));
    stage.run(&recover(""));
    stage.committed(MENDED, 1);
    let request = wait_until("the request", DEADLINE, || stage.receiver.requests_to(MENDED).into_iter().next());
    let before = stage.receiver.requests_to(BROKEN);
    let is_same =
        before.iter().all(|earlier| earlier.body == request.body && earlier.webhook_id() == request.webhook_id());
    stage.screen.expect(
        is_same && counted.cell(0, "recover_webhooks") == "1",
        "the one that failed came, with the id and the bytes of its six attempts before",
    );
    wait_until("the recovery to be noted", DEADLINE, || {
        let query = format!(
            "select 1 from webhook_endpoint_health where endpoint_id = '{}' and failing_since is null and queued = 0",
            endpoint.id
        );
        (Table::query(&mut stage.client, &query).len() == 1).then_some(())
    });
    let left = diagnose(stage, endpoint);
    stage.screen.expect(left.len() == 0, "nothing is wrong with it any more");
}

/// What is not as it should be.
fn diagnose(stage: &mut Stage, endpoint: &Endpoint) -> Table {
    let diagnosis = stage.run(&format!(
        "select question, result, what_to_do\nfrom diagnose_webhook('{}') where is_fine is not true;",
        endpoint.id
    ));
    for row in 0..diagnosis.len() {
        stage.screen.quote(&format!("{} {}", diagnosis.cell(row, "question"), diagnosis.cell(row, "result")));
        stage.screen.quote(&format!("  → {}", diagnosis.cell(row, "what_to_do")));
    }
    if diagnosis.len() == 0 {
        stage.screen.quote("(no rows)");
    }
    diagnosis
}
