//! Order by row: the events of one row arrive in the order in which they happened.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;
use webhook_harness::{Application, Receiver, Reply, Request, sample};

/// Edits of each message, each in its own transaction.
const EDITS: usize = 60;

/// Messages, each edited by its own session.
const MESSAGES: usize = 4;

/// Delays each answer by a time derived from the id, so that requests overtake each other unless
/// the worker keeps them in order.
fn answer_late(request: &Request) -> Reply {
    let id = request.webhook_id().unwrap_or_default();
    Reply::ok().after(Duration::from_millis(u64::from(id.as_bytes()[15] % 16)))
}

fn application(receiver: &Receiver) -> (Application, Vec<Uuid>) {
    let mut application = Application::start(&[]);
    for path in ["/one", "/other"] {
        application.endpoint(sample::RIVERSIDE, &receiver.url(path), &["message.*"]);
    }
    let insert = "with channel as (insert into channels (auction_id, name) values ($1, 'busy') returning id)
        insert into messages (auction_id, channel_id, content) select $1, channel.id, '0' from channel, generate_series(1, $2::integer)
        returning id";
    let rows = application.client.query(insert, &[&sample::RIVERSIDE, &(MESSAGES as i32)]).unwrap();
    let messages = rows.iter().map(|row| row.get(0)).collect();
    (application, messages)
}

/// Edits each message many times, all messages concurrently.
fn edit(application: &Application, messages: &[Uuid]) {
    std::thread::scope(|scope| {
        for message in messages {
            let mut session = application.cluster.connect();
            scope.spawn(move || {
                for number in 1..=EDITS {
                    let update = "update messages set content = $2 where id = $1";
                    session.execute(update, &[message, &number.to_string()]).unwrap();
                }
            });
        }
    });
}

/// The contents of each message at each path, in the order of arrival.
fn contents(receiver: &Receiver) -> HashMap<(String, Uuid), Vec<usize>> {
    let mut contents: HashMap<_, Vec<usize>> = HashMap::new();
    for request in receiver.requests() {
        let data = request.json()["data"].take();
        let content = data["content"].as_str().unwrap().parse().unwrap();
        let message = data["id"].as_str().unwrap().parse().unwrap();
        contents.entry((request.path, message)).or_default().push(content);
    }
    contents
}

#[test]
fn events_of_a_row_arrive_in_order_at_each_endpoint() {
    let receiver = Receiver::start(answer_late);
    let (mut application, messages) = application(&receiver);
    edit(&application, &messages);
    application.settle();
    let contents = contents(&receiver);
    assert_eq!(contents.len(), 2 * MESSAGES);
    let in_order: Vec<usize> = (0..=EDITS).collect();
    for (place, contents) in contents {
        assert_eq!(contents, in_order, "{place:?}");
    }
}

#[test]
fn events_of_a_row_arrive_in_order_after_a_pause() {
    let receiver = Receiver::start(answer_late);
    let (mut application, messages) = application(&receiver);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    edit(&application, &messages);
    application.client.batch_execute("select webhook_delivery.resume()").unwrap();
    application.settle();
    let contents = contents(&receiver);
    assert_eq!(contents.len(), 2 * MESSAGES);
    let in_order: Vec<usize> = (0..=EDITS).collect();
    for (place, contents) in contents {
        assert_eq!(contents, in_order, "{place:?}");
    }
}

#[test]
fn refused_event_of_a_row_delays_no_later_event() {
    let receiver = Receiver::start(|request| {
        let is_refused = request.json()["data"]["content"] == "1";
        if is_refused { Reply::status(503) } else { Reply::ok() }
    });
    let mut application = Application::start(&[("webhook_delivery.retry_schedule", "1h")]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["message.*"]);
    let insert = "with channel as (insert into channels (auction_id, name) values ($1, 'busy') returning id)
        insert into messages (auction_id, channel_id, content) select $1, id, '0' from channel";
    application.client.execute(insert, &[&sample::RIVERSIDE]).unwrap();
    for number in ["1", "2", "3"] {
        application.client.execute("update messages set content = $1", &[&number]).unwrap();
    }
    application.wait_for_deliveries(3, "success");
    application.wait_for_deliveries(1, "retrying");
    let contents: Vec<_> = contents(&receiver).into_values().collect();
    assert_eq!(contents, [[0, 1, 2, 3]]);
}
