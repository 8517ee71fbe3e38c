//! A delivery whose endpoint answers 503, and its retries.

use std::time::Duration;

use webhook_harness::sample::HILLTOP;
use webhook_harness::{AttemptRow, DEADLINE, Delivery, Endpoint, wait_until};

use crate::demo::Demo;
use crate::table::Table;

pub const FAILING_PATH: &str = "/status/503";

/// The schedule that the README documents.
const MINUTES: [u64; 5] = [1, 5, 30, 120, 720];

/// Creates the endpoint and shows that its first attempt fails.
pub fn endpoint(demo: &mut Demo) -> Endpoint {
    demo.screen.heading("An endpoint that answers 503");
    let endpoint = demo.create_endpoint(HILLTOP, FAILING_PATH, "shift.ended");
    demo.run(&format!(
        "select webhook_delivery.emit('shift.ended', '{HILLTOP}', '{{\"lot\": \"Main Lot\", \"cars\": 5}}');"
    ));
    let delivery = after_attempt(demo, &endpoint, 1);
    let error = delivery.error_message.as_deref().unwrap_or_default();
    demo.screen.expect(delivery.status == "retrying" && error == "status 503", "the delivery is retrying: status 503");
    endpoint
}

/// Shows all attempts of the default schedule.
pub fn retries(demo: &mut Demo, endpoint: &Endpoint) {
    demo.screen.heading("Its retries");
    demo.run_and_show("show webhook_delivery.retry_schedule;");
    demo.screen.say("(to avoid a wait of 15 hours, each due time is moved to now once it is recorded)");
    for made in 2..=6 {
        let bring_forward =
            "update webhook_delivery.queue set due_at = now(); select webhook_delivery.wake_to_rescan()";
        Table::query(&mut demo.client, bring_forward);
        after_attempt(demo, endpoint, made);
    }
    let attempts = endpoint.attempts(&mut demo.client);
    let rows = attempts.iter().map(|attempt| {
        let next = waiting_time(attempt).map_or("none: failed".to_owned(), |time| format!("in {}", formatted(time)));
        let code = attempt.response_status_code.map_or(String::new(), |code| code.to_string());
        vec![
            attempt.attempt.to_string(),
            attempt.status.clone(),
            code,
            attempt.error_message.clone().unwrap_or_default(),
            next,
        ]
    });
    let columns = ["attempt", "status", "code", "error_message", "next_attempt_at"];
    demo.screen.table(&Table::new(&columns, rows.collect()));

    let scheduled = MINUTES.map(|minutes| Some(Duration::from_secs(minutes * 60)));
    let on_time = attempts
        .iter()
        .zip(scheduled.into_iter().chain([None]))
        .all(|(attempt, scheduled)| is_on_time(attempt, scheduled));
    demo.screen.expect(
        on_time && attempts.len() == 6,
        "six attempts at the times of the schedule, up to a tenth later, then failed",
    );
    let requests = demo.receiver.requests_to(FAILING_PATH);
    let same = requests
        .iter()
        .all(|request| request.body == requests[0].body && request.webhook_id() == requests[0].webhook_id());
    let valid = demo.verifiers.verdicts(&endpoint.secret, &requests).iter().all(Result::is_ok);
    demo.screen
        .expect(same && valid && requests.len() == 6, "each request had the same id and body, and valid signatures");
}

fn after_attempt(demo: &mut Demo, endpoint: &Endpoint, made: i32) -> Delivery {
    wait_until(&format!("attempt {made}"), DEADLINE, || {
        endpoint.deliveries(&mut demo.client).into_iter().find(|delivery| delivery.attempts == made)
    })
}

/// Time from the end of an attempt until the next one is due.
fn waiting_time(attempt: &AttemptRow) -> Option<Duration> {
    let ended_at = attempt.attempted_at + Duration::from_millis(attempt.response_time_ms.unsigned_abs().into());
    attempt.next_attempt_at.map(|next| next.duration_since(ended_at).unwrap_or_default())
}

/// Whether the waiting time is that of the schedule and at most a tenth more. The history rounds
/// the end of an attempt to a millisecond.
fn is_on_time(attempt: &AttemptRow, scheduled: Option<Duration>) -> bool {
    match (waiting_time(attempt), scheduled) {
        (Some(time), Some(scheduled)) => time >= scheduled && time <= scheduled.mul_f64(1.1) + Duration::from_millis(1),
        (time, scheduled) => time.is_none() && scheduled.is_none(),
    }
}

/// A duration such as "1 min 3 s".
fn formatted(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
