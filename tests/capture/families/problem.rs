//! Events of problems: `problem.created`, `problem.status_changed`, `problem.assigned` and
//! `problem.action_completed`.

use serde_json::{Value, json};
use webhook_harness::{Listener, sample};

const PROBLEM: &str = "9b000000-0000-4000-8000-000000000001";
const ACTION: &str = "ac000000-0000-4000-8000-000000000001";

fn dana() -> Value {
    json!({ "id": sample::DANA, "name": "Dana Reyes" })
}

fn sam() -> Value {
    json!({ "id": sample::SAM, "name": "Sam Okafor" })
}

/// The problem that Dana reports: a gate that does not close.
struct Problem {
    status: [Option<&'static str>; 2],
    assigned_to: Value,
    actions: [usize; 2],
}

impl Problem {
    /// The problem in every event except `problem.status_changed`.
    fn now(status: &'static str, assigned_to: Value) -> Self {
        Self { status: [None, Some(status)], assigned_to, actions: [0, 0] }
    }

    fn from(before: &'static str, status: &'static str, assigned_to: Value) -> Self {
        Self { status: [Some(before), Some(status)], assigned_to, actions: [0, 0] }
    }

    fn data(&self) -> Value {
        json!({
            "id": PROBLEM, "issue_name": "Gate B does not close", "area": "Check-in",
            "location_id": sample::NORTH_LOT, "location_name": "North Lot",
            "previous_status": self.status[0], "new_status": self.status[1],
            "prepared_by": dana(), "assigned_to": self.assigned_to,
            "action_count": self.actions[0], "completed_action_count": self.actions[1],
            "updated_at": "2026-01-15T14:30:00.000Z"
        })
    }

    fn assigned(&self, previous: Value) -> (&'static str, Value) {
        let mut data = self.data();
        data["previous_assigned_to"] = previous;
        ("problem.assigned", data)
    }

    fn status_changed(&self) -> (&'static str, Value) {
        ("problem.status_changed", self.data())
    }

    fn completed(&self, total: usize, completed: usize, action: Value) -> (&'static str, Value) {
        let mut data = Self { actions: [total, completed], assigned_to: self.assigned_to.clone(), ..*self }.data();
        data["action"] = action;
        ("problem.action_completed", data)
    }
}

/// The SQL that inserts Dana's problem without an assignee.
fn insert() -> String {
    format!(
        "insert into problems (id, auction_id, issue_name, area, location_id, prepared_by, updated_at) values
             ('{PROBLEM}', '{}', 'Gate B does not close', 'Check-in', '{}', '{}', '2026-01-15 14:30Z');",
        sample::RIVERSIDE,
        sample::NORTH_LOT,
        sample::DANA
    )
}

fn assign(user: impl std::fmt::Display) -> String {
    format!("update problems set assigned_to = '{user}';")
}

fn set_status(status: &str) -> String {
    format!("update problems set status = '{status}';")
}

/// A listener with a problem whose `problem.created` has arrived.
fn with_problem() -> Listener {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.assert_received(&[("problem.created", Problem::now("open", Value::Null).data())]);
    listener
}

#[test]
fn each_status_change_sends_the_old_and_the_new_status() {
    let mut listener = with_problem();
    listener.run(&set_status("in_progress"));
    listener.assert_received(&[Problem::from("open", "in_progress", Value::Null).status_changed()]);
    listener.run(&set_status("closed"));
    listener.assert_received(&[Problem::from("in_progress", "closed", Value::Null).status_changed()]);
}

#[test]
fn status_change_compares_start_and_end_of_the_transaction() {
    let mut listener = with_problem();
    listener.run(&format!("{}{}", set_status("in_progress"), set_status("closed")));
    listener.assert_received(&[Problem::from("open", "closed", Value::Null).status_changed()]);
    // A status that returns to its first value, an update without a change, and a change of another
    // column send nothing.
    listener.run(&format!("{}{}", set_status("open"), set_status("closed")));
    listener.run("update problems set status = status, issue_name = issue_name");
    listener.run("update problems set area = area || ''");
    listener.assert_received(&[]);
    // Neither does a change that a savepoint rolls back. The next change starts from the status
    // before the savepoint.
    listener.run(&format!(
        "begin; savepoint s; {} rollback to s; {} commit",
        set_status("open"),
        set_status("in_progress")
    ));
    listener.assert_received(&[Problem::from("closed", "in_progress", Value::Null).status_changed()]);
}

#[test]
fn assignment_sends_the_previous_assignee() {
    let mut listener = with_problem();
    listener.run(&assign(sample::DANA));
    listener.assert_received(&[Problem::now("open", dana()).assigned(Value::Null)]);
    listener.run(&format!("{}{}", assign(sample::NAMELESS), assign(sample::SAM)));
    listener.assert_received(&[Problem::now("open", sam()).assigned(dana())]);
    // Assigning the same user again and removing the assignee send nothing.
    listener.run(&assign(sample::SAM));
    listener.run("update problems set assigned_to = null");
    listener.assert_received(&[]);
    listener.run(&assign(sample::NAMELESS));
    let nameless = json!({ "id": sample::NAMELESS, "name": null });
    listener.assert_received(&[Problem::now("open", nameless).assigned(Value::Null)]);
}

#[test]
fn status_change_and_assignment_are_sent_in_their_order() {
    let mut listener = with_problem();
    listener.run(&format!("{}{}", set_status("in_progress"), assign(sample::SAM)));
    listener.assert_received(&[
        Problem::from("open", "in_progress", sam()).status_changed(),
        Problem::now("in_progress", sam()).assigned(Value::Null),
    ]);
    listener.run(&format!("{}{}", assign(sample::DANA), set_status("closed")));
    listener.assert_received(&[
        Problem::now("closed", dana()).assigned(sam()),
        Problem::from("in_progress", "closed", dana()).status_changed(),
    ]);
    // Two changes of one statement have no order.
    listener.run(&format!("update problems set status = 'open', assigned_to = '{}'", sample::SAM));
    let mut received: Vec<_> = listener.received().into_iter().map(|(event, _)| event).collect();
    received.sort();
    assert_eq!(received, ["problem.assigned", "problem.status_changed"]);
}

#[test]
fn problem_changed_in_its_first_transaction_is_only_created() {
    let mut listener = Listener::start(&[]);
    let actions = format!(
        "insert into problem_actions (id, problem_id, description, completed_at) values
             ('{ACTION}', '{PROBLEM}', 'Look', now()), (gen_random_uuid(), '{PROBLEM}', 'Repair', null);"
    );
    listener.run(&format!("{}{}{}{actions}", insert(), set_status("in_progress"), assign(sample::SAM)));
    let problem = Problem { actions: [2, 1], ..Problem::now("in_progress", sam()) };
    listener.assert_received(&[("problem.created", problem.data())]);
}

#[test]
fn action_is_completed_once_until_it_is_reopened() {
    let mut listener = with_problem();
    let problem = Problem::now("open", Value::Null);
    let action = |at: &str| json!({ "id": ACTION, "description": "Order a new hinge", "completed_by": sam(), "completed_at": at });
    listener.run(&format!(
        "insert into problem_actions (id, problem_id, description) values ('{ACTION}', '{PROBLEM}', 'Order a new hinge'),
             (gen_random_uuid(), '{PROBLEM}', 'Mount it')"
    ));
    listener.assert_received(&[]);
    let complete = |at: &str| {
        format!(
            "update problem_actions set completed_at = '{at}', completed_by = '{}' where id = '{ACTION}';",
            sample::SAM
        )
    };
    listener.run(&complete("2026-01-16 08:00Z"));
    listener.assert_received(&[problem.completed(2, 1, action("2026-01-16T08:00:00.000Z"))]);
    // A new time of a completed action sends nothing, nor does reopening and completing it in one
    // transaction.
    listener.run(&complete("2026-01-16 09:00Z"));
    listener.run(&format!("update problem_actions set completed_at = null; {}", complete("2026-01-16 10:00Z")));
    listener.assert_received(&[]);
    listener.run("update problem_actions set completed_at = null");
    listener.assert_received(&[]);
    listener.run(&format!("{}{}", complete("2026-01-17 08:00Z"), complete("2026-01-17 09:00Z")));
    listener.assert_received(&[problem.completed(2, 1, action("2026-01-17T09:00:00.000Z"))]);
    // An action that is inserted as completed also sends the event.
    listener.run(&format!(
        "insert into problem_actions (problem_id, description, completed_at) values ('{PROBLEM}', 'Oil it', '2026-01-18 08:00Z')"
    ));
    let received = listener.received();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(
        (&received[0].1["action"]["description"], &received[0].1["action"]["completed_by"]),
        (&"Oil it".into(), &Value::Null)
    );
    assert_eq!((&received[0].1["action_count"], &received[0].1["completed_action_count"]), (&3.into(), &2.into()));
}

#[test]
fn bulk_change_sends_each_row_with_its_own_old_status() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into problems (auction_id, issue_name, status) select '{0}', 'number ' || n, (array['open', 'in_progress', 'closed'])[n % 3 + 1]
         from generate_series(1, 300) as n",
        sample::RIVERSIDE
    ));
    assert_eq!(listener.received().len(), 300);
    listener.run(&format!(
        "{} insert into problems (auction_id, issue_name) values ('{}', 'of another auction')",
        set_status("closed"),
        sample::HILLTOP
    ));
    let received = listener.received();
    assert_eq!(received.len(), 200, "problems that were already closed send nothing");
    for (event, data) in received {
        let number: i32 = data["issue_name"].as_str().unwrap()["number ".len()..].parse().unwrap();
        let before = ["open", "in_progress", "closed"][number as usize % 3];
        assert_eq!((event.as_str(), &data["previous_status"]), ("problem.status_changed", &before.into()), "{data}");
    }
}

#[test]
fn deleted_user_is_sent_as_previous_assignee_without_a_name() {
    let mut listener = with_problem();
    listener.run(&assign(sample::SAM));
    listener.received();
    // One transaction deletes Sam and reassigns Sam's problems.
    listener.run(&format!("{} delete from users where id = '{}'", assign(sample::DANA), sample::SAM));
    let received: Vec<_> = listener.received().into_iter().filter(|(event, _)| event == "problem.assigned").collect();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].1["previous_assigned_to"], json!({ "id": sample::SAM, "name": null }));
}

#[test]
fn recaptured_status_change_keeps_the_previous_status() {
    let mut listener = with_problem();
    listener.run("alter table users rename full_name to name");
    listener.run(&set_status("in_progress"));
    listener.run("alter table users rename name to full_name");
    let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
    let written: i64 = listener.application.client.query_one(again, &[]).unwrap().get(0);
    assert_eq!(written, 1);
    listener.assert_received(&[Problem::from("open", "in_progress", Value::Null).status_changed()]);
}

#[test]
fn old_value_of_an_added_column_is_its_default() {
    let mut listener = with_problem();
    listener.run(
        "alter table problems drop column status; alter table problems add column status text not null default 'open'",
    );
    listener.run(&set_status("closed"));
    listener.assert_received(&[Problem::from("open", "closed", Value::Null).status_changed()]);
}

#[test]
fn table_altered_between_change_and_commit_does_no_harm() {
    let mut listener = with_problem();
    listener.run(&format!(
        "begin; {} alter table problems alter area type integer using 7, add column added uuid default gen_random_uuid(); commit",
        set_status("closed")
    ));
    let mut expected = Problem::from("open", "closed", Value::Null).data();
    expected["area"] = 7.into();
    listener.application.settle();
    let body = listener.receiver.requests()[0].json();
    assert_eq!(body["data"].to_string(), expected.to_string());
}

#[test]
fn deleting_an_auction_sends_nothing() {
    let mut listener = with_problem();
    listener.run(&format!("insert into problem_actions (problem_id, description) values ('{PROBLEM}', 'Look')"));
    listener.run(&format!(
        "{}{} update problem_actions set completed_at = now(); delete from auctions where id = '{}'",
        set_status("closed"),
        assign(sample::SAM),
        sample::RIVERSIDE
    ));
    listener.assert_received(&[]);
}
