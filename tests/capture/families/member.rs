//! Events of members: `member.invited`, `member.joined`, `member.role_changed` and
//! `member.removed`.

use serde_json::{Value, json};
use uuid::Uuid;
use webhook_harness::{Listener, sample};

fn dana() -> Value {
    json!({ "id": sample::DANA, "name": "Dana Reyes" })
}

/// The data of Kim, a user of Hilltop, as a member of Riverside.
fn kim(role: &str) -> Value {
    json!({
        "user_id": sample::KIM, "email": "kim@example.com", "full_name": "Kim Larsen", "role": role,
        "invited_by": dana(), "joined_at": "2026-01-15T14:30:00.000Z"
    })
}

fn join(role: &str) -> String {
    format!(
        "insert into auction_members (auction_id, user_id, role, invited_by, joined_at) values
             ('{}', '{}', '{role}', '{}', '2026-01-15 14:30Z');",
        sample::RIVERSIDE,
        sample::KIM,
        sample::DANA
    )
}

fn set_role(role: &str) -> String {
    format!("update auction_members set role = '{role}' where user_id = '{}';", sample::KIM)
}

fn remove(user: Uuid) -> String {
    format!("delete from auction_members where user_id = '{user}' and auction_id = '{}';", sample::RIVERSIDE)
}

fn role_changed(before: &str, role: &str) -> (&'static str, Value) {
    let mut data = kim(role);
    data["previous_role"] = before.into();
    data["new_role"] = role.into();
    ("member.role_changed", data)
}

/// Events and data. Checks `removed_at`, the time of the event, and takes it out.
fn removals(listener: &mut Listener) -> Vec<(String, Value)> {
    listener
        .received()
        .into_iter()
        .map(|(event, mut data)| {
            if event == "member.removed" {
                let removed_at = data.as_object_mut().unwrap().pop("removed_at");
                assert!(removed_at.as_str().is_some_and(|time| time.ends_with('Z')), "{removed_at}");
            }
            (event, data)
        })
        .collect()
}

trait Pop {
    /// Removes the last field, which must have this name.
    fn pop(&mut self, name: &str) -> Value;
}

impl Pop for serde_json::Map<String, Value> {
    fn pop(&mut self, name: &str) -> Value {
        assert_eq!(self.keys().next_back().map(String::as_str), Some(name));
        self.remove(name).unwrap()
    }
}

fn removed(data: Value) -> (String, Value) {
    ("member.removed".to_owned(), data)
}

#[test]
fn member_is_invited_joins_changes_role_and_is_removed() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into auction_invitations (auction_id, email, role, invited_by, invited_at) values
             ('{}', 'kim@example.com', 'member', '{}', '2026-01-14 09:00Z')",
        sample::RIVERSIDE,
        sample::DANA
    ));
    let invited = json!({
        "user_id": null, "email": "kim@example.com", "full_name": null, "role": "member", "invited_by": dana(),
        "joined_at": null, "invited_at": "2026-01-14T09:00:00.000Z"
    });
    listener.assert_received(&[("member.invited", invited)]);
    listener.run(&format!("{} delete from auction_invitations", join("member")));
    listener.assert_received(&[("member.joined", kim("member"))]);
    listener.run(&set_role("admin"));
    listener.assert_received(&[role_changed("member", "admin")]);
    listener.run(&remove(sample::KIM));
    assert_eq!(removals(&mut listener), [removed(kim("admin"))]);
}

#[test]
fn invitation_names_a_known_user_and_can_be_repeated() {
    let mut listener = Listener::start(&[]);
    let invite = |at: &str| {
        format!(
            "insert into auction_invitations (auction_id, email, user_id, role, invited_at) values
                 ('{}', 'kim@example.com', '{}', 'admin', '{at}')
             on conflict (auction_id, email) do update set invited_at = excluded.invited_at",
            sample::RIVERSIDE,
            sample::KIM
        )
    };
    let invited = |at: &str| {
        json!({
            "user_id": sample::KIM, "email": "kim@example.com", "full_name": "Kim Larsen", "role": "admin", "invited_by": null,
            "joined_at": null, "invited_at": at
        })
    };
    listener.run(&invite("2026-01-14 09:00Z"));
    listener.assert_received(&[("member.invited", invited("2026-01-14T09:00:00.000Z"))]);
    listener.run(&invite("2026-01-15 09:00Z"));
    listener.assert_received(&[("member.invited", invited("2026-01-15T09:00:00.000Z"))]);
    listener.run(&invite("2026-01-15 09:00Z"));
    listener.run("update auction_invitations set role = 'member'; delete from auction_invitations");
    listener.assert_received(&[]);
}

#[test]
fn role_change_compares_start_and_end_of_the_transaction() {
    let mut listener = Listener::start(&[]);
    listener.run(&join("member"));
    listener.received();
    listener.run(&format!("{}{}", set_role("admin"), set_role("owner")));
    listener.assert_received(&[role_changed("member", "owner")]);
    listener.run(&format!("{}{}", set_role("member"), set_role("owner")));
    listener.run(&set_role("owner"));
    listener.run("update auction_members set invited_by = null");
    listener.assert_received(&[]);
    let upsert = join("admin").replace(';', " on conflict (auction_id, user_id) do update set role = excluded.role");
    listener.run(&upsert);
    let mut expected = role_changed("owner", "admin");
    expected.1["invited_by"] = Value::Null;
    listener.assert_received(&[expected]);
}

#[test]
fn joining_member_sends_only_the_final_state() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}", join("member"), set_role("admin")));
    listener.assert_received(&[("member.joined", kim("admin"))]);
    listener.run(&remove(sample::KIM));
    listener.received();
    listener.run(&format!("{}{}", join("member"), remove(sample::KIM)));
    listener.assert_received(&[]);
}

#[test]
fn removed_member_sends_one_event_with_the_last_role() {
    let mut listener = Listener::start(&[]);
    listener.run(&join("member"));
    listener.received();
    // A removed member sends no `member.role_changed`.
    listener.run(&format!("{}{}", set_role("admin"), remove(sample::KIM)));
    assert_eq!(removals(&mut listener), [removed(kim("admin"))]);
    // A member who is inserted again before the commit sends `member.joined`, not `member.removed`.
    listener.run(&join("member"));
    listener.received();
    listener.run(&format!("{}{}", remove(sample::KIM), join("member")));
    listener.assert_received(&[("member.joined", kim("member"))]);
}

#[test]
fn members_removed_together_send_one_event_each() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "update auction_members set joined_at = '2026-01-15 14:30Z' where auction_id = '{}'",
        sample::RIVERSIDE
    ));
    listener.run(&format!("{}{}", remove(sample::SAM), remove(sample::NAMELESS)));
    let member = |id: Uuid, email: &str, name: Option<&str>| {
        removed(json!({
            "user_id": id, "email": email, "full_name": name, "role": "member", "invited_by": null,
            "joined_at": "2026-01-15T14:30:00.000Z"
        }))
    };
    let expected = [
        member(sample::SAM, "sam@example.com", Some("Sam Okafor")),
        member(sample::NAMELESS, "new.colleague@example.com", None),
    ];
    // The order of the events of two rows does not matter.
    let mut received = removals(&mut listener);
    received.sort_by_key(|(_, data)| data["user_id"].to_string());
    assert_eq!(received, expected);
}

#[test]
fn deleted_account_sends_the_members_removal_with_its_id() {
    let mut listener = Listener::start(&[]);
    listener.run(&join("admin"));
    listener.received();
    listener.run(&format!("delete from users where id = '{}'", sample::KIM));
    let mut expected = kim("admin");
    (expected["email"], expected["full_name"]) = (Value::Null, Value::Null);
    assert_eq!(removals(&mut listener), [removed(expected)]);
}

#[test]
fn recaptured_removal_keeps_its_original_time() {
    let mut listener = Listener::start(&[]);
    listener.run(&join("admin"));
    listener.received();
    listener.run("alter table users rename full_name to name");
    listener.run(&remove(sample::KIM));
    listener.run("alter table users rename name to full_name");
    let row = listener
        .application
        .client
        .query_one(
            "select id, to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') from webhook_delivery.capture_errors",
            &[],
        )
        .unwrap();
    let (id, occurred_at): (i64, String) = (row.get(0), row.get(1));
    listener.application.client.execute("select webhook_delivery.recapture($1)", &[&id]).unwrap();
    let mut expected = kim("admin");
    expected["removed_at"] = occurred_at.into();
    listener.assert_received(&[("member.removed", expected)]);
}

#[test]
fn deleting_an_auction_sends_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(&join("member"));
    listener.received();
    listener.run(&format!("delete from auctions where id = '{}'", sample::RIVERSIDE));
    listener.assert_received(&[]);
    assert_eq!(listener.application.count("select count(*) from auction_members"), 1);
}
