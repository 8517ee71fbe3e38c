//! webhook_delivery.max_payload: an event with more data fails and is never sent truncated.

use webhook_harness::{Application, DEADLINE, Listener, Submission, sample, wait_until};

/// Bytes of data, status, attempts and error of every delivery, smallest first.
#[track_caller]
fn deliveries(application: &mut Application) -> Vec<(i32, String, i32, Option<String>)> {
    let query = "select octet_length(event.data::text), delivery.status::text, delivery.attempts::integer, delivery.error_message
        from webhook_deliveries as delivery join webhook_delivery.events as event on event.id = delivery.event_id order by 1";
    let rows = application.client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[test]
fn oversized_event_fails_with_its_reason_and_is_not_sent() {
    let mut listener = Listener::start(&[]);
    let (application, receiver) = (&mut listener.application, &listener.receiver);
    let of_length = |length: usize| Submission { image_url: Some("x".repeat(length)), ..Submission::of_riverside() };
    let mut transaction = application.client.transaction().unwrap();
    Submission::of_riverside().insert(&mut transaction);
    of_length(260_000).insert(&mut transaction);
    of_length(262_144).insert(&mut transaction);
    transaction.commit().unwrap();
    application.settle();
    let deliveries = deliveries(application);
    let statuses: Vec<_> = deliveries.iter().map(|(_, status, ..)| status.as_str()).collect();
    assert_eq!(statuses, ["success", "success", "failed"]);
    let (bytes, _, _, error) = &deliveries[2];
    let expected = format!("the payload has {bytes} bytes, and webhook_delivery.max_payload allows 262144");
    assert_eq!(error.as_ref(), Some(&expected));
    assert_eq!(receiver.count(), 2);
    assert_eq!(application.count("select count(*) from public.submissions"), 3);
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

#[test]
fn oversized_event_waits_while_its_endpoint_is_disabled() {
    let mut listener = Listener::start(&[("webhook_delivery.max_payload", "1kB")]);
    let too_large = format!("\"{}\"", "x".repeat(2_000));
    let mut transaction = listener.application.client.transaction().unwrap();
    let emit = "select webhook_delivery.emit('submission.created', $1, $2::text::json)";
    transaction.execute(emit, &[&sample::RIVERSIDE, &too_large]).unwrap();
    transaction.batch_execute("update webhook_endpoints set is_active = false").unwrap();
    transaction.commit().unwrap();
    // A later event of another endpoint: once it is delivered, the worker has read both.
    let other = listener.application.endpoint(sample::HILLTOP, &listener.receiver.url("/other"), &["*"]);
    listener.application.client.execute(emit, &[&other.auction_id, &"{}"]).unwrap();
    listener.application.wait_for_deliveries(1, "success");
    assert_eq!(listener.application.count("select count(*) from webhook_deliveries where status = 'pending'"), 1);
    listener.application.cluster.set("webhook_delivery.max_payload", "4kB");
    wait_until("the new limit to take effect", DEADLINE, || {
        listener.application.client.execute(emit, &[&other.auction_id, &too_large]).unwrap();
        wait_until("the end of the new delivery", DEADLINE, || {
            let left = "select count(*) from webhook_delivery.queue";
            (listener.application.count(left) == 1).then_some(())
        });
        (listener.receiver.requests_to("/other").len() > 1).then_some(())
    });
    listener.application.client.batch_execute("update webhook_endpoints set is_active = true").unwrap();
    listener.application.settle();
    assert_eq!(listener.receiver.requests_to("/").len(), 1);
}

#[test]
fn limit_is_exact_to_the_byte_and_changes_with_a_reload() {
    let mut listener = Listener::start(&[("webhook_delivery.max_payload", "1kB")]);
    let emit = |listener: &mut Listener, length: usize| {
        let data = format!("\"{}\"", "é".repeat((length - 2) / 2));
        assert_eq!(data.len(), length);
        let sql = "select webhook_delivery.emit('submission.created', $1, $2::text::json)";
        listener.application.client.execute(sql, &[&sample::RIVERSIDE, &data]).unwrap();
    };
    emit(&mut listener, 1024);
    emit(&mut listener, 1026);
    listener.application.settle();
    let received: Vec<_> =
        listener.receiver.requests().iter().map(|request| request.json()["data"].to_string().len()).collect();
    assert_eq!(received, [1024]);
    let deliveries = deliveries(&mut listener.application);
    assert_eq!((deliveries[0].0, deliveries[0].1.as_str()), (1024, "success"));
    assert_eq!((deliveries[1].0, deliveries[1].1.as_str()), (1026, "failed"));

    listener.application.cluster.set("webhook_delivery.max_payload", "2kB");
    wait_until("the new limit to take effect", DEADLINE, || {
        emit(&mut listener, 2048);
        listener.application.settle();
        (listener.receiver.count() > 1).then_some(())
    });
}
