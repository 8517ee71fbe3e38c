//! Limits on a tenant's input: a million entries or 10 MB are refused quickly with a short error.

use std::time::{Duration, Instant};

use postgres::types::ToSql;
use uuid::Uuid;
use webhook_harness::{Application, Receiver, Reply, refusal, sample};

/// The maximum size of an error message with its DETAIL and HINT.
const MESSAGE_BYTES: usize = 4_000;

/// Far longer than an immediate refusal takes, and shorter than a comparison of each entry with the
/// catalogue.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn everything_that_a_tenant_writes_is_bounded() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let mut dana = application.create_tenant(sample::DANA);
    dana.batch_execute("set statement_timeout = '60s'").unwrap();

    let million = "array_fill('*'::text, array[1000000])";
    let million_wide = "array_fill('*'::text, array[1, 1000000])";
    let long = "repeat('x', 10000000)";
    let deep = "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb";
    let waits = "array_fill(interval '1 second', array[1, 1000000])";
    let columns = [
        ("events", million.to_owned()),
        ("events", million_wide.to_owned()),
        ("events", "array_fill('*'::text, array[10, 10])".to_owned()),
        ("events", format!("array[{long}]")),
        ("events", "array[null, '*']".to_owned()),
        ("url", format!("'https://example.com/' || {long}")),
        ("url", format!("{long} || '://example.com/'")),
        ("url", "repeat('x', 1900) || '://example.com/'".to_owned()),
        ("secret", long.to_owned()),
        ("description", long.to_owned()),
        ("headers", format!("jsonb_build_object('X-Long', {long})")),
        ("headers", format!("jsonb_build_object({long}, 'x')")),
        ("headers", "(select jsonb_object_agg('X-' || n, 'x') from generate_series(1, 1000000) as n)".to_owned()),
        ("headers", deep.to_owned()),
        ("headers", "'{\"X-Nested\": {\"a\": 1}}'".to_owned()),
        ("headers", "'[\"X-List\"]'".to_owned()),
        ("retry_schedule", waits.to_owned()),
        ("retry_schedule", "array_fill(interval '1 second', array[1000000])".to_owned()),
        ("retry_schedule", "array[null::interval]".to_owned()),
        ("max_per_second", "'NaN'".to_owned()),
        ("max_per_second", "'Infinity'".to_owned()),
    ];
    let no_argument: &[&(dyn ToSql + Sync)] = &[];
    let mut statements = Vec::new();
    for (column, value) in &columns {
        statements.push(format!("update webhook_endpoints set {column} = {value}"));
        let (url, events) = (("url", "'https://example.com/'"), ("events", "'{*}'"));
        let others: Vec<_> = [url, events].into_iter().filter(|(name, _)| name != column).collect();
        let names: Vec<_> = others.iter().map(|(name, _)| *name).collect();
        let values: Vec<_> = others.iter().map(|(_, value)| *value).collect();
        statements.push(format!(
            "insert into webhook_endpoints (auction_id, {}, {column}) values ('{}', {}, {value})",
            names.join(", "),
            sample::RIVERSIDE,
            values.join(", ")
        ));
    }
    let id = endpoint.id;
    for call in [
        format!("check_webhook_url({long} || '://example.com/')"),
        "check_webhook_url(repeat('x', 1900) || '://example.com/')".to_owned(),
        "check_webhook_url(null)".to_owned(),
        format!("test_webhook('{id}', {long})"),
        format!("replay_webhooks('{id}', '-infinity', events => {million})"),
        format!("replay_webhooks('{id}', '-infinity', events => {million_wide})"),
        format!("replay_webhooks('{id}', '-infinity', events => array[{long}])"),
        format!("expunge_webhook_data('{}', containing => {long})", sample::RIVERSIDE),
        "expunge_webhook_data(null, everything => true)".to_owned(),
        format!("webhook_delivery.begin_rotation('{id}', 1e9)"),
        format!("webhook_delivery.begin_rotation('{id}', -1)"),
        format!("webhook_delivery.begin_rotation('{id}', 'NaN')"),
        format!("rotate_webhook_secret('{id}', interval '31 days')"),
        format!("rotate_webhook_secret('{id}', interval '-1000000 mons 30000001 days')"),
        "webhook_activity(now(), interval '1 month')".to_owned(),
        "webhook_activity(now() - interval '1 year', interval '1 second')".to_owned(),
    ] {
        statements.push(format!("select {call}"));
    }
    for statement in statements {
        let began = Instant::now();
        let error = refusal(&mut dana, &statement, no_argument);
        let took = began.elapsed();
        let class = &error.code().code()[..2];
        assert!(["22", "23"].contains(&class), "{statement}: {} {}", error.code().code(), error.message());
        let said =
            [Some(error.message()), error.detail(), error.hint()].into_iter().flatten().map(str::len).sum::<usize>();
        assert!(said <= MESSAGE_BYTES, "{statement}: the error has {said} bytes");
        assert!(took < PROMPT, "{statement} took {took:?}");
    }
    // More ids than may be redelivered within a minute are not even looked up.
    for call in [
        "webhook_delivery.redeliver(array_fill(gen_random_uuid(), array[1, 1000000]))",
        "redeliver_webhooks((select array_agg(gen_random_uuid()) from generate_series(1, 10001)))",
    ] {
        assert_eq!(refusal(&mut dana, &format!("select {call}"), no_argument).code().code(), "PT429", "{call}");
    }
    // Harmless calls have no effect.
    for call in [
        "webhook_delivery.redeliver((select array_agg(gen_random_uuid()) from generate_series(1, 10000)))",
        "webhook_delivery.cancel(array_fill(null::uuid, array[1000000]))",
        "webhook_delivery.redeliver('{}')",
    ] {
        let number: i64 =
            dana.query_one(&format!("select {call}"), &[]).unwrap_or_else(|e| panic!("{call}: {e:?}")).get(0);
        assert_eq!(number, 0, "{call}");
    }
    let page = format!("select webhook_admin({long})::text = webhook_admin(null)::text");
    assert!(dana.query_one(&page, &[]).unwrap().get::<_, bool>(0));
    // The creator is read from the claims, which a session can set.
    let claims = "select set_config('request.jwt.claims', json_build_object('sub', repeat('x', 256))::text, false)";
    application.client.batch_execute(claims).unwrap();
    let insert = "insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), 'https://example.com/', '{*}')";
    let error = refusal(&mut application.client, insert, &[]);
    assert_eq!(error.constraint(), Some("created_by_is_at_most_255_characters"));
    // None of these statements changed the endpoint.
    assert_eq!(endpoints(&mut application.client), vec![(endpoint.id, receiver.url("/"), vec!["*".to_owned()])]);
}

fn endpoints(client: &mut postgres::Client) -> Vec<(Uuid, String, Vec<String>)> {
    let rows = client.query("select id, url, events from webhook_endpoints", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}
