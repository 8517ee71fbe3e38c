//! channel.created and channel.archived, as an application's transactions make them.

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

/// As Dana creates it.
fn create(listener: &mut Listener) {
    listener.run(&format!(
        "insert into channels (id, auction_id, name, created_by, created_at) values
             ('{CHANNEL}', '{}', 'lot-runners', '{}', '2026-01-15 09:30-05')",
        sample::RIVERSIDE,
        sample::DANA
    ));
}

#[test]
fn a_channel_that_is_created_and_later_archived_is_two_events() {
    let mut listener = Listener::start(&[]);
    create(&mut listener);
    listener.assert_told(&[("channel.created", created("lot-runners"))]);
    listener.run("update channels set name = 'runners', description = null");
    listener.assert_told(&[]);
    listener.run("update channels set archived_at = '2026-03-31 18:00:00.5Z'");
    listener.assert_told(&[("channel.archived", archived("runners", "2026-03-31T18:00:00.500Z"))]);
}

#[test]
fn a_channel_is_archived_once_however_often_its_time_is_written() {
    let mut listener = Listener::start(&[]);
    create(&mut listener);
    listener.run("update channels set archived_at = '2026-03-31Z'");
    listener.told();
    listener.run("update channels set archived_at = '2026-04-01Z'; update channels set archived_at = archived_at");
    listener.assert_told(&[]);
    // Taken back: that is no event, and archived again it is archived again.
    listener.run("update channels set archived_at = null");
    listener.assert_told(&[]);
    listener.run("update channels set archived_at = '2026-05-01Z'; update channels set archived_at = null");
    listener.assert_told(&[]);
    listener.run("update channels set archived_at = '2026-05-01Z'; update channels set archived_at = '2026-05-02Z'");
    listener.assert_told(&[("channel.archived", archived("lot-runners", "2026-05-02T00:00:00.000Z"))]);
}

#[test]
fn a_channel_that_comes_archived_and_one_that_is_gone_at_the_commit_are_nobodys_news() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into channels (auction_id, name, archived_at) values ('{0}', 'imported', '2020-01-01Z');
         insert into channels (auction_id, name) values ('{0}', 'mistaken'); delete from channels where name = 'mistaken'",
        sample::RIVERSIDE
    ));
    listener.assert_told(&[]);
}

#[test]
fn nobody_and_somebody_without_a_name_create_channels_too() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into channels (auction_id, name, description, is_private, created_by) values
             ('{0}', 'of nobody', 'x', true, null), ('{0}', 'of the nameless', null, false, '{1}')",
        sample::RIVERSIDE,
        sample::NAMELESS
    ));
    for (_, data) in listener.told() {
        let expected = match data["name"].as_str() {
            Some("of nobody") => Value::Null,
            _ => json!({ "id": sample::NAMELESS, "name": null }),
        };
        assert_eq!(data["created_by"], expected, "{data}");
    }
}
