//! Mistakes: each error names the mistake, and its HINT the remedy.

use webhook_harness::{Application, Cluster, refusal, sample, tenant};

#[test]
fn every_check_constraint_of_an_endpoint_has_a_hint() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let constraints = "select conname::text from pg_constraint
        where conrelid = 'webhook_endpoints'::regclass and contype = 'c' order by conname";
    let constraints: Vec<String> = client.query(constraints, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let violations = [
        ("created_by_is_at_most_255_characters", None),
        ("description_is_at_most_1000_characters", Some("description = repeat('x', 1001)")),
        ("events_has_1_to_100_entries", Some("events = '{}'")),
        ("filter_is_at_most_1000_characters", Some("filter = repeat('x', 1001)")),
        ("headers_is_an_object", Some("headers = '[]'")),
        ("max_per_second_is_between_a_hundredth_and_10000", Some("max_per_second = 0")),
        ("only_a_disabled_endpoint_says_when_and_why", None),
        ("only_ed25519_has_a_public_key", None),
        ("retry_schedule_has_at_most_100_waits_of_1_second_to_30_days", Some("retry_schedule = '{31 days}'")),
        ("url_is_at_most_2000_characters", Some("url = 'https://example.com/' || repeat('x', 2000)")),
    ];
    // Without a violation here: the server sets created_by and public_key, and refuses the other
    // with a HINT of its own to all but operators.
    assert_eq!(constraints, violations.map(|(name, _)| name));
    client
        .batch_execute("insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), 'https://example.com/', '{*}')")
        .unwrap();
    for violation in violations.iter().filter_map(|(_, violation)| *violation) {
        let error = refusal(&mut client, &format!("update webhook_endpoints set {violation}"), &[]);
        assert!(["22023", "23514"].contains(&error.code().code()), "{violation}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.ends_with('.')), "{violation}: {error}");
    }
}

#[test]
fn auction_of_an_endpoint_is_assigned_or_its_absence_explained() {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let administered = "select count(*) from webhook_auctions()";
    assert_eq!(dana.query_one(administered, &[]).unwrap().get::<_, i64>(0), 1);
    let without =
        "insert into webhook_endpoints (url, events) values ('https://example.com/', '{*}') returning auction_id";
    assert_eq!(dana.query_one(without, &[]).unwrap().get::<_, uuid::Uuid>(0), sample::RIVERSIDE);

    let of_other = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')";
    let error = refusal(&mut dana, of_other, &[&sample::HILLTOP]);
    assert_eq!(error.code().code(), "42501");
    assert_eq!(error.message(), format!("permission denied for auction {}", sample::HILLTOP));
    assert_eq!(error.detail(), Some("You do not administer this auction."));

    let second = "insert into auction_members (auction_id, user_id, role) values ($1, $2, 'admin')";
    application.client.execute(second, &[&sample::HILLTOP, &sample::DANA]).unwrap();
    let error = refusal(&mut dana, without, &[]);
    assert_eq!(error.code().code(), "23502");
    assert_eq!(error.message(), "auction_id of the webhook endpoint is missing");
    assert!(error.hint().is_some());
}

#[test]
fn null_id_of_a_new_endpoint_is_assigned() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let insert = "insert into webhook_endpoints (id, auction_id, url, events)
        select null, gen_random_uuid(), 'https://example.com/' || n, '{*}' from generate_series(1, 3) as n
        returning webhook_delivery.uuid_v7_time(id) > now() - interval '1 minute'";
    let assigned = client.query(insert, &[]).unwrap();
    assert_eq!(assigned.iter().map(|row| row.get::<_, bool>(0)).collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn test_of_a_paused_endpoint_says_that_it_waits() {
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["*"]);
    let client = &mut application.client;
    client.execute("select webhook_delivery.pause('x', endpoint_id => $1)", &[&endpoint.id]).unwrap();
    let note = "select note, follow from test_webhook($1, 'submission.created')";
    let row = client.query_one(note, &[&endpoint.id]).unwrap();
    assert!(row.get::<_, String>(0).contains("paused"));
    assert!(row.get::<_, String>(1).starts_with("select "));
    // PostgREST sets this for each request.
    client.batch_execute("select set_config('request.method', 'POST', false)").unwrap();
    let row = client.query_one(note, &[&endpoint.id]).unwrap();
    assert!(row.get::<_, String>(1).starts_with("/webhook_deliveries?id=eq."));
    let error = refusal(client, "select test_webhook(gen_random_uuid(), 'submission.created')", &[]);
    assert_eq!(error.hint(), Some("GET /webhook_endpoints?select=id,url shows the endpoints that you see."));
}
