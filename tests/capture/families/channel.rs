//! Events of channels: `channel.created` and `channel.archived`.

use serde_json::{Value, json};
use webhook_harness::{Listener, sample};

const CHANNEL: &str = "c0000000-0000-4000-8000-000000000001";

fn created(name: &str) -> Value {
    json!({
        "id": CHANNEL, "name": name, "description": null, "is_private": false,
        "created_by": { "id": sample::DANA, "name": "Dana Reyes" }, "created_at": "2026-01-15T14:30:00.000Z"
    })
}

fn archived(name: &str, at: &str) -> Value {
    let mut data = created(name);
    data["archived_at"] = at.into();
    data
}

/// Inserts the channel that Dana creates.
fn create(listener: &mut Listener) {
    listener.run(&format!(
        "insert into channels (id, auction_id, name, created_by, created_at) values
             ('{CHANNEL}', '{}', 'lot-runners', '{}', '2026-01-15 09:30-05')",
        sample::RIVERSIDE,
        sample::DANA
    ));
}

#[test]
fn creating_and_archiving_a_channel_sends_two_events() {
    let mut listener = Listener::start(&[]);
    create(&mut listener);
    listener.assert_received(&[("channel.created", created("lot-runners"))]);
    listener.run("update channels set name = 'runners', description = null");
    listener.assert_received(&[]);
    listener.run("update channels set archived_at = '2026-03-31 18:00:00.5Z'");
    listener.assert_received(&[("channel.archived", archived("runners", "2026-03-31T18:00:00.500Z"))]);
}

#[test]
fn channel_is_archived_once_until_it_is_unarchived() {
    let mut listener = Listener::start(&[]);
    create(&mut listener);
    listener.run("update channels set archived_at = '2026-03-31Z'");
    listener.received();
    listener.run("update channels set archived_at = '2026-04-01Z'; update channels set archived_at = archived_at");
    listener.assert_received(&[]);
    // Unarchiving sends no event. Archiving the channel again sends another one.
    listener.run("update channels set archived_at = null");
    listener.assert_received(&[]);
    listener.run("update channels set archived_at = '2026-05-01Z'; update channels set archived_at = null");
    listener.assert_received(&[]);
    listener.run("update channels set archived_at = '2026-05-01Z'; update channels set archived_at = '2026-05-02Z'");
    listener.assert_received(&[("channel.archived", archived("lot-runners", "2026-05-02T00:00:00.000Z"))]);
}

#[test]
fn channel_inserted_archived_or_deleted_again_sends_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into channels (auction_id, name, archived_at) values ('{0}', 'imported', '2020-01-01Z');
         insert into channels (auction_id, name) values ('{0}', 'mistaken'); delete from channels where name = 'mistaken'",
        sample::RIVERSIDE
    ));
    listener.assert_received(&[]);
}

#[test]
fn creator_of_a_channel_may_be_null_or_without_a_name() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into channels (auction_id, name, description, is_private, created_by) values
             ('{0}', 'of nobody', 'x', true, null), ('{0}', 'of the nameless', null, false, '{1}')",
        sample::RIVERSIDE,
        sample::NAMELESS
    ));
    for (_, data) in listener.received() {
        let expected = match data["name"].as_str() {
            Some("of nobody") => Value::Null,
            _ => json!({ "id": sample::NAMELESS, "name": null }),
        };
        assert_eq!(data["created_by"], expected, "{data}");
    }
}
