//! Events of messages: `message.created`, `message.edited` and `message.deleted`.

use std::io::Write;

use serde_json::{Value, json};
use webhook_harness::{Listener, sample};

const CHANNEL: &str = "c0000000-0000-4000-8000-000000000001";
const MESSAGE: &str = "e5000000-0000-4000-8000-000000000001";
const REPLY: &str = "e5000000-0000-4000-8000-000000000002";

/// The data of Dana's message.
fn message(content: Value) -> Value {
    json!({
        "id": MESSAGE, "channel_id": CHANNEL, "channel_name": "lot-runners", "user_id": sample::DANA, "sender_name": "Dana Reyes",
        "content": content, "message_type": "text", "is_thread_reply": false, "parent_message_id": null,
        "mentions": [sample::SAM], "created_at": "2026-01-15T14:30:00.000Z"
    })
}

fn edited(content: &str, at: Option<&str>) -> (&'static str, Value) {
    let mut data = message(content.into());
    data["edited_at"] = at.into();
    ("message.edited", data)
}

fn deleted(at: &str) -> (&'static str, Value) {
    let mut data = message(Value::Null);
    data["deleted_at"] = at.into();
    ("message.deleted", data)
}

fn insert(content: &str) -> String {
    format!(
        "insert into messages (id, auction_id, channel_id, user_id, content, mentions, created_at) values
             ('{MESSAGE}', '{}', '{CHANNEL}', '{}', '{content}', '{{{}}}', '2026-01-15 14:30Z');",
        sample::RIVERSIDE,
        sample::DANA,
        sample::SAM
    )
}

/// A listener with the channel, after the event of the channel itself.
fn with_channel() -> Listener {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into channels (id, auction_id, name) values ('{CHANNEL}', '{}', 'lot-runners')",
        sample::RIVERSIDE
    ));
    listener.received();
    listener
}

#[test]
fn message_is_created_edited_and_deleted() {
    let mut listener = with_channel();
    listener.run(&insert("the blue truck"));
    listener.assert_received(&[("message.created", message("the blue truck".into()))]);
    listener.run("update messages set content = 'the red truck', edited_at = '2026-01-15 14:31Z'");
    listener.assert_received(&[edited("the red truck", Some("2026-01-15T14:31:00.000Z"))]);
    listener.run("update messages set deleted_at = '2026-01-15 14:32Z'");
    listener.assert_received(&[deleted("2026-01-15T14:32:00.000Z")]);
}

#[test]
fn content_of_a_deleted_message_is_never_sent() {
    let mut listener = with_channel();
    listener.run(&insert("secret"));
    listener.received();
    // A message edited and deleted in one transaction sends only `message.deleted`.
    listener.run("update messages set content = 'more secret'; update messages set deleted_at = '2026-01-15 14:32Z'");
    listener.assert_received(&[deleted("2026-01-15T14:32:00.000Z")]);
    listener.run("update messages set content = '(deleted)'");
    listener.assert_received(&[]);
    listener.run(&format!("update messages set deleted_at = null; {}", insert("x").replace(MESSAGE, REPLY)));
    let received = listener.received();
    assert_eq!(received.len(), 1, "a restored message is not sent again: {received:?}");
    // A message created and deleted in one transaction sends nothing.
    listener.run(&format!("delete from messages; {} update messages set deleted_at = now()", insert("mistake")));
    listener.assert_received(&[]);
}

#[test]
fn content_change_sends_one_edit_per_transaction() {
    let mut listener = with_channel();
    listener.run(&insert("one"));
    listener.received();
    listener.run("update messages set content = 'two'; update messages set content = 'three'");
    listener.assert_received(&[edited("three", None)]);
    listener.run("update messages set content = 'four'; update messages set content = 'three'");
    listener.run("update messages set content = content, edited_at = now(), message_type = 'text'");
    listener.run("update messages set mentions = '{}'");
    listener.assert_received(&[]);
    listener.run("delete from messages");
    listener.assert_received(&[]);
}

#[test]
fn reply_names_its_parent_and_a_sender_may_be_unknown() {
    let mut listener = with_channel();
    listener.run(&insert("question"));
    listener.received();
    listener.run(&format!(
        "insert into messages (id, auction_id, channel_id, user_id, content, message_type, parent_message_id, created_at) values
             ('{REPLY}', '{0}', '{CHANNEL}', '{1}', 'answer', 'image', '{MESSAGE}', '2026-01-15 14:31Z')",
        sample::RIVERSIDE,
        sample::NAMELESS
    ));
    let reply = json!({
        "id": REPLY, "channel_id": CHANNEL, "channel_name": "lot-runners", "user_id": sample::NAMELESS, "sender_name": null,
        "content": "answer", "message_type": "image", "is_thread_reply": true, "parent_message_id": MESSAGE,
        "mentions": [], "created_at": "2026-01-15T14:31:00.000Z"
    });
    listener.assert_received(&[("message.created", reply)]);
    listener.run(&format!(
        "insert into messages (auction_id, channel_id, content) values ('{}', '{CHANNEL}', 'from the system')",
        sample::RIVERSIDE
    ));
    let received = listener.received();
    assert_eq!((&received[0].1["user_id"], &received[0].1["sender_name"]), (&Value::Null, &Value::Null));
}

#[test]
fn any_text_arrives_unchanged_and_is_compared_completely() {
    let mut listener = with_channel();
    let long = "„Anführung“ \\ \"quote\" 'single'\r\n\t👩‍🔧 \u{1}".repeat(2_000);
    assert!(long.len() > 100_000);
    let insert = insert("x").replace("'x'", "$1");
    listener.application.client.execute(insert.trim_end_matches(';'), &[&long]).unwrap();
    listener.assert_received(&[("message.created", message(long.as_str().into()))]);
    // The content is stored out of line before and after the edit.
    let longer = format!("{long}!");
    listener.application.client.execute("update messages set content = $1", &[&longer]).unwrap();
    listener.assert_received(&[edited(&longer, None)]);
    listener.application.client.execute("update messages set content = $1", &[&longer]).unwrap();
    listener.assert_received(&[]);
}

#[test]
fn bulk_insert_and_bulk_edit_send_one_event_per_message() {
    let mut listener = with_channel();
    let copy = "copy messages (auction_id, channel_id, content) from stdin";
    let mut rows = listener.application.client.copy_in(copy).unwrap();
    for number in 0..1_000 {
        writeln!(rows, "{}\t{CHANNEL}\tnumber {number}", sample::RIVERSIDE).unwrap();
    }
    rows.finish().unwrap();
    let contents = |listener: &mut Listener, event: &str| {
        let mut contents: Vec<String> = listener
            .received()
            .into_iter()
            .map(|(received, data)| {
                assert_eq!(received, event);
                data["content"].as_str().unwrap().to_owned()
            })
            .collect();
        contents.sort();
        contents.dedup();
        contents.len()
    };
    assert_eq!(contents(&mut listener, "message.created"), 1_000);
    listener.run("update messages set content = content || '!' where content <> 'number 7'");
    assert_eq!(contents(&mut listener, "message.edited"), 999);
}

#[test]
fn upsert_sends_a_created_or_an_edited_event() {
    let mut listener = with_channel();
    let upsert = |content: &str| {
        insert(content)
            .replace(';', " on conflict (id) do update set content = excluded.content, edited_at = '2026-01-15 15:00Z'")
    };
    listener.run(&upsert("one"));
    listener.assert_received(&[("message.created", message("one".into()))]);
    listener.run(&upsert("two"));
    listener.assert_received(&[edited("two", Some("2026-01-15T15:00:00.000Z"))]);
}

#[test]
fn deleting_a_channel_or_an_auction_sends_nothing() {
    let mut listener = with_channel();
    listener.run(&insert("one"));
    listener.received();
    listener.run(&format!("{} delete from channels", insert("two").replace(MESSAGE, REPLY)));
    listener.assert_received(&[]);
    listener.run(&format!("delete from auctions where id = '{}'", sample::RIVERSIDE));
    listener.assert_received(&[]);
}
