//! Endpoints: which can be written, and what becomes of deliveries when one is disabled or deleted.

use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal, sample, tenant};

fn cluster_with(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    (cluster, client)
}

const INSERT: &str = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, $3) returning id";

#[test]
fn only_https_addresses_that_give_nothing_away_are_accepted() {
    let (_cluster, mut client) = cluster_with(&[("webhook_delivery.allow_http", "off")]);
    let longest = format!("https://example.com/{}", "x".repeat(1980));
    assert_eq!(longest.len(), 2000);
    let accepted = [
        "https://example.com",
        "https://example.com:8443/hooks?from=auction&n=1",
        "HTTPS://EXAMPLE.COM/Hooks",
        "https://bücher.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:8443/",
        longest.as_str(),
    ];
    for url in accepted {
        client.execute(INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"]]).unwrap_or_else(|e| panic!("{url}: {e:?}"));
    }
    let too_long = format!("{longest}x");
    let refused = [
        ("", "this is not a URL"),
        ("example.com/hooks", "this is not a URL"),
        ("/hooks", "this is not a URL"),
        ("http://example.com/", "the URL must begin with https://"),
        ("ftp://example.com/", "the URL must begin with https://, not ftp:"),
        ("javascript:alert(1)", "the URL must begin with https://, not javascript:"),
        ("file:///etc/passwd", "the URL must begin with https://, not file:"),
        ("https://", "this is not a URL"),
        ("https://user@example.com/", "the URL contains a user name or password"),
        ("https://user:secret@example.com/", "the URL contains a user name or password"),
        ("https://:secret@example.com/", "the URL contains a user name or password"),
        (" https://example.com/", "the URL contains white space"),
        ("https://example.com/a b", "the URL contains white space"),
        ("https://example.com/\r\nX-Injected: yes", "the URL contains white space"),
        ("https://example.com/\u{a0}", "the URL contains white space"),
        ("https://example.com:0/", "port 0 is not allowed"),
        ("https://example.com:99999/", "this is not a URL"),
    ];
    for (url, message) in refused {
        let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"]]);
        assert_eq!(error.code().code(), "22023", "{url}: {error}");
        assert!(error.message().starts_with(message), "{url}: {error}");
        assert!(!error.hint().unwrap_or_default().is_empty(), "{url}: no hint");
        // What is checked at the start is also checked later.
        let error = refusal(&mut client, "update webhook_endpoints set url = $1", &[&url]);
        assert!(error.message().starts_with(message), "{url}: {error}");
    }
    // In its normal form it is longer: each character is three there.
    let long_when_normal = format!("https://example.com/{}", "{".repeat(700));
    for url in [too_long, long_when_normal] {
        let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"]]);
        assert_eq!((error.code().code(), error.message()), ("22023", "the URL has more than 2000 characters"));
    }
}

#[test]
fn http_is_accepted_where_the_administrator_says_so() {
    let (_cluster, mut client) = cluster_with(&[("webhook_delivery.allow_http", "on")]);
    client.execute(INSERT, &[&sample::RIVERSIDE, &"http://127.0.0.1:9/", &vec!["*"]]).unwrap();
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &"ftp://127.0.0.1/", &vec!["*"]]);
    assert!(error.message().contains("not ftp:"), "{error}");
}

#[test]
fn event_types_are_those_of_the_catalogue_a_family_or_all() {
    let (_cluster, mut client) = cluster_with(&[]);
    let url = "https://example.com/";
    let accepted = [
        vec!["submission.created"],
        vec!["submission.created", "submission.updated"],
        vec!["submission.*"],
        vec!["problem.*", "member.joined"],
        vec!["*"],
    ];
    for events in accepted {
        client.execute(INSERT, &[&sample::RIVERSIDE, &url, &events]).unwrap_or_else(|e| panic!("{events:?}: {e:?}"));
    }
    let unknown = [
        "submission.deleted",
        "submission",
        "submision.*",
        "Submission.created",
        "submission.**",
        "*.created",
        "sub*",
        ".*",
        "",
        " submission.created",
    ];
    for event in unknown {
        for statement in [INSERT, "update webhook_endpoints set auction_id = $1, url = $2, events = $3"] {
            let error =
                refusal(&mut client, statement, &[&sample::RIVERSIDE, &url, &vec!["submission.updated", event]]);
            assert_eq!(error.code().code(), "22023", "{event:?}: {error}");
            assert_eq!(error.message(), format!("unknown event type: {event}"));
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains("problem.status_changed, submission.created, submission.updated"), "{hint}");
        }
    }
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec![None, Some("*")]]);
    assert_eq!(error.code().code(), "22023", "{error}");
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &Vec::<&str>::new()]);
    assert_eq!((error.code().code(), error.constraint()), ("23514", Some("events_has_1_to_100_entries")));
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"; 101]]);
    assert_eq!(error.code().code(), "22023", "{error}");
}

#[test]
fn an_endpoint_stays_in_its_auction_and_knows_when_it_was_changed() {
    let (_cluster, mut client) = cluster_with(&[]);
    let id: Uuid = client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    for change in [format!("auction_id = '{}'", sample::HILLTOP), "id = gen_random_uuid()".to_owned()] {
        let error = refusal(&mut client, &format!("update webhook_endpoints set {change} where id = $1"), &[&id]);
        assert_eq!(error.code().code(), "22023", "{change}: {error}");
        assert_eq!(error.message(), "id and auction_id of a webhook endpoint cannot be changed");
        assert_eq!(error.hint(), Some("Create a new endpoint instead."));
    }
    let change = "update webhook_endpoints set description = 'Ours', created_at = '2000-01-01', updated_at = '2000-01-01', auction_id = auction_id
        where id = $1 returning created_at > now() - interval '1 minute', updated_at = now(), updated_at > created_at";
    let row = client.query_one(change, &[&id]).unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (true, true, true));
}

/// An application with an endpoint for everything of Riverside and one for everything of Hilltop.
fn two_endpoints(receiver: &Receiver, settings: &[(&str, &str)]) -> (Application, Endpoint, Endpoint) {
    let mut application = Application::start(settings);
    let riverside = application.endpoint(sample::RIVERSIDE, &receiver.url("/riverside"), &["*"]);
    let hilltop = application.endpoint(sample::HILLTOP, &receiver.url("/hilltop"), &["*"]);
    (application, riverside, hilltop)
}

const SET_ACTIVE: &str = "update webhook_endpoints set is_active = $2 where id = $1";

#[test]
fn what_is_queued_for_a_disabled_endpoint_waits_until_it_is_enabled() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 20);
    transaction.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    transaction.commit().unwrap();
    // Queued later and delivered earlier: the worker has passed by what waits.
    hilltop.emit(client, 20);
    hilltop.wait_for(client, 20, "success");
    let waiting = riverside.deliveries(client);
    assert_eq!(waiting.len(), 20);
    assert!(waiting.iter().all(|delivery| delivery.status == "pending" && delivery.attempts == 0), "{waiting:?}");
    assert_eq!(receiver.requests_to("/riverside").len(), 0);
    // While it is disabled nothing is added.
    riverside.emit(client, 5);
    client.execute(SET_ACTIVE, &[&riverside.id, &true]).unwrap();
    riverside.wait_for(client, 20, "success");
    application.settle();
    assert_eq!(receiver.requests_to("/riverside").len(), 20);
}

#[test]
fn retries_of_a_disabled_endpoint_wait_until_it_is_enabled_also_over_a_restart() {
    let receiver = Receiver::by_path();
    let (mut application, _, hilltop) = two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "300ms")]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/fail-then-ok/1"), &["submission.updated"]);
    let client = &mut application.client;
    client.execute("select webhook_delivery.emit('submission.updated', $1, '{}')", &[&sample::RIVERSIDE]).unwrap();
    failing.wait_for(client, 1, "retrying");
    client.execute(SET_ACTIVE, &[&failing.id, &false]).unwrap();
    let attempts = receiver.requests_to("/fail-then-ok/1").len();
    application.cluster.restart(webhook_harness::StopMode::Fast);
    application.client = application.cluster.connect();
    let client = &mut application.client;
    let is_due = "select next_attempt_at < now() from webhook_deliveries where endpoint_id = $1";
    webhook_harness::wait_until("the retry to be due", webhook_harness::DEADLINE, || {
        client.query_one(is_due, &[&failing.id]).unwrap().get::<_, bool>(0).then_some(())
    });
    hilltop.emit(client, 1);
    hilltop.wait_for(client, 1, "success");
    assert_eq!(receiver.requests_to("/fail-then-ok/1").len(), attempts);
    client.execute(SET_ACTIVE, &[&failing.id, &true]).unwrap();
    let delivered = failing.wait_for(client, 1, "success");
    assert_eq!(delivered[0].attempts, 2);
}

#[test]
fn what_comes_due_for_a_deleted_endpoint_ends_as_failed_and_says_why() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "1h")]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/status/503"), &["*"]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    transaction.commit().unwrap();
    failing.wait_for(client, 3, "retrying");
    let disabled_by_hand = "select count(*) from webhook_deliveries where status = 'pending'";
    assert_eq!(client.query_one(disabled_by_hand, &[]).unwrap().get::<_, i64>(0), 3);
    client.execute("delete from webhook_endpoints where auction_id = $1", &[&sample::RIVERSIDE]).unwrap();
    failing.wait_for(client, 3, "retrying");
    // In an hour, or when the operator says so.
    client.batch_execute("update webhook_delivery.queue set due_at = now() where attempts > 0").unwrap();

    for (endpoint, attempts_before) in [(&riverside, 0), (&failing, 1)] {
        let ended = endpoint.wait_for(client, 3, "failed");
        assert_eq!(ended.len(), 3);
        for delivery in ended {
            assert_eq!(delivery.error_message.as_deref(), Some("the endpoint was deleted"), "{delivery:?}");
            assert!(delivery.next_attempt_at.is_none() && delivery.completed_at.is_some(), "{delivery:?}");
            assert_eq!(delivery.response_status_code, None, "{delivery:?}");
        }
        // The requests that were made stay in the history, as they were.
        let made =
            "select count(*) from webhook_delivery_attempts where endpoint_id = $1 and error_message = 'status 503'";
        assert_eq!(client.query_one(made, &[&endpoint.id]).unwrap().get::<_, i64>(0), 3 * attempts_before);
    }
    hilltop.emit(client, 1);
    application.settle();
    assert_eq!(receiver.requests_to("/status/503").len(), 3);
    assert_eq!(receiver.requests_to("/hilltop").len(), 1);
    assert_eq!(receiver.requests_to("/riverside").len(), 0);
    assert_eq!(application.count("select count(*) from webhook_delivery.endpoint_secrets"), 1);
}

#[test]
fn an_endpoint_deleted_and_created_again_in_one_transaction_gets_what_waits_for_it() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, _) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let again = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, $3, '{*}', 'another secret, given again')";
    transaction.execute(again, &[&riverside.id, &riverside.auction_id, &receiver.url("/again")]).unwrap();
    transaction.commit().unwrap();
    riverside.wait_for(client, 3, "success");
    assert_signed("another secret, given again", &receiver.requests_to("/again"));
    assert_eq!(receiver.count(), 3);
}

#[test]
fn an_endpoint_of_another_auction_with_the_id_of_a_deleted_one_gets_nothing_of_what_waits_for_that() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let thief = "insert into webhook_endpoints (id, auction_id, url, events) values ($1, $2, $3, '{*}')";
    transaction.execute(thief, &[&riverside.id, &hilltop.auction_id, &receiver.url("/thief")]).unwrap();
    transaction.commit().unwrap();
    let ended = riverside.wait_for(client, 3, "failed");
    assert!(ended.iter().all(|delivery| delivery.error_message.as_deref() == Some("the endpoint was deleted")));
    assert_eq!(receiver.count(), 0);
}

#[test]
fn a_request_under_way_to_an_endpoint_that_is_deleted_is_recorded_and_not_made_again() {
    let receiver = Receiver::start(|_| Reply::status(503).after(Duration::from_secs(1)));
    let (mut application, riverside, _) =
        two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "10ms, 10ms")]);
    let client = &mut application.client;
    riverside.emit(client, 1);
    receiver.wait_for(1, DEADLINE);
    client.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let ended = riverside.wait_for(client, 1, "failed");
    assert_eq!((ended[0].error_message.as_deref(), ended[0].attempts), (Some("the endpoint was deleted"), 1));
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_delivery_without_its_event_ends_as_failed_and_says_so_and_is_never_hidden() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, _) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    client.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    let queued = "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
                  select now() + interval '1 h', webhook_delivery.uuid_v7(), $1, $2, webhook_delivery.uuid_v7(), 'submission.created'";
    client.execute(queued, &[&riverside.auction_id, &riverside.id]).unwrap();
    assert_eq!(riverside.deliveries(client)[0].status, "pending");
    client.batch_execute("update webhook_delivery.queue set due_at = now()").unwrap();
    let ended = riverside.wait_for(client, 1, "failed");
    assert_eq!((ended[0].error_message.as_deref(), ended[0].attempts), (Some("the event was deleted"), 0));
    assert_eq!(receiver.count(), 0);
}

#[test]
fn a_secret_goes_with_its_endpoint_deleted_or_truncated_and_stays_with_one_that_is_created_again() {
    let (_cluster, mut client) = cluster_with(&[]);
    let endpoint = Endpoint::create(&mut client, "https://example.com");
    let secrets = "select count(*) from webhook_delivery.endpoint_secrets";
    let again = "with gone as (delete from webhook_endpoints where id = $1 returning auction_id)
                 insert into webhook_endpoints (auction_id, url, events) select auction_id, 'https://example.org', '{*}' from gone";
    assert_eq!(client.execute(again, &[&endpoint.id]).unwrap(), 1);
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 1);
    client.execute("delete from webhook_endpoints", &[]).unwrap();
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 0);
    Endpoint::create(&mut client, "https://example.com");
    client.execute("truncate webhook_endpoints", &[]).unwrap();
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn what_the_transaction_queues_that_disables_the_endpoint_waits() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    for round in 1..=100 {
        let endpoint = application.endpoint(Uuid::new_v4(), &receiver.url("/"), &["*"]);
        let client = &mut application.client;
        // The worker has just seen it active.
        endpoint.emit(client, 1);
        endpoint.wait_for(client, 1, "success");
        let mut transaction = client.transaction().unwrap();
        endpoint.emit(&mut transaction, 1);
        transaction.execute("update webhook_endpoints set is_active = false where id = $1", &[&endpoint.id]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(receiver.count(), round);
    }
    // Time enough for whatever should not have been sent.
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]).emit(&mut application.client, 1);
    application.wait_for_deliveries(101, "success");
    assert_eq!(receiver.count(), 101);
}

#[test]
fn server_sets_times_and_creator_of_an_endpoint() {
    let (cluster, mut client) = cluster_with(&[]);
    tenant::create_roles(&mut client);
    client.batch_execute("create function mine() returns setof uuid language sql as $$ select '11111111-1111-4111-8111-111111111111'::uuid $$").unwrap();
    client.batch_execute("alter database postgres set webhook_delivery.access_function = 'public.mine'").unwrap();
    let auction: Uuid = "11111111-1111-4111-8111-111111111111".parse().unwrap();
    let insert = "insert into webhook_endpoints (auction_id, url, events, created_at, updated_at, created_by)
        values ($1, 'https://example.com/', '{*}', 'infinity', 'infinity', 'someone else') returning id";
    let set = "created_at = now() and updated_at = now()";
    let mut dana = tenant::session_of(&cluster, "tenant", sample::DANA);
    let mut transaction = dana.transaction().unwrap();
    let id: Uuid = transaction.query_one(insert, &[&auction]).unwrap().get(0);
    let read = format!("select {set}, created_by from webhook_endpoints where id = $1");
    let row = transaction.query_one(&read, &[&id]).unwrap();
    assert_eq!((row.get(0), row.get::<_, String>(1)), (true, sample::DANA.to_string()));
    transaction.commit().unwrap();
    // Another administrator changes it, and the first one leaves.
    let mut kim = tenant::session_of(&cluster, "tenant", sample::KIM);
    let change = "update webhook_endpoints set updated_at = 'infinity', created_at = '-infinity', created_by = 'kim', description = 'x'
        where id = $1 returning updated_at = now(), created_at < now(), created_by";
    let row = kim.query_one(change, &[&id]).unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (true, true, sample::DANA.to_string()));
    // Of an upsert, too.
    let upsert = "insert into webhook_endpoints (id, auction_id, url, events, created_at, created_by) values ($1, $2, 'https://example.com/', '{*}', 'infinity', 'x')
        on conflict (id) do update set created_at = excluded.created_at, created_by = excluded.created_by
        returning created_at < now(), created_by";
    let row = kim.query_one(upsert, &[&id, &auction]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, sample::DANA.to_string()));
    // The operator's own has no creator, and claims that are no JSON give none.
    for claims in ["", "no JSON"] {
        client.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).unwrap();
        let mut transaction = client.transaction().unwrap();
        let id: Uuid = transaction.query_one(insert, &[&auction]).unwrap().get(0);
        let row = transaction.query_one(&read, &[&id]).unwrap();
        assert_eq!((row.get(0), row.get(1)), (true, None::<String>));
        transaction.commit().unwrap();
    }
}

#[test]
fn max_endpoints_holds_for_transactions_at_the_same_time() {
    let (cluster, mut client) = cluster_with(&[("webhook_delivery.max_endpoints", "5")]);
    // The first of an auction, and one more where there are some; in both isolation levels.
    for (auction, there_are, isolation) in [
        (Uuid::new_v4(), 0, "read committed"),
        (Uuid::new_v4(), 2, "read committed"),
        (Uuid::new_v4(), 0, "repeatable read"),
    ] {
        let insert = "insert into webhook_endpoints (auction_id, url, events) select $1, 'https://example.com/', '{*}' from generate_series(1, $2)";
        client.execute(insert, &[&auction, &there_are]).unwrap();
        let sessions: Vec<_> = (0..4)
            .map(|_| {
                let mut session = cluster.connect();
                std::thread::spawn(move || {
                    let mut made = 0;
                    for _ in 0..5 {
                        let mut transaction = session.transaction().unwrap();
                        transaction.batch_execute(&format!("set transaction isolation level {isolation}")).unwrap();
                        if transaction.execute(insert, &[&auction, &2]).is_ok() && transaction.commit().is_ok() {
                            made += 2;
                        }
                    }
                    made
                })
            })
            .collect();
        let made: i32 = sessions.into_iter().map(|session| session.join().unwrap()).sum();
        let count: i64 = client
            .query_one("select count(*) from webhook_endpoints where auction_id = $1", &[&auction])
            .unwrap()
            .get(0);
        assert_eq!((count, i64::from(made + there_are)), (4, 4), "{isolation}, {there_are} before");
    }
}

/// A function in RETURNING runs a statement on the same table while the first one is not through.
#[test]
fn statement_within_a_statement_neither_passes_the_limit_nor_loses_a_secret() {
    let (_cluster, mut client) = cluster_with(&[("webhook_delivery.max_endpoints", "3")]);
    let own: Uuid =
        client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    let nested = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')
        returning id, generated_secret(webhook_endpoints), rotate_webhook_secret($2)";
    for _ in 0..2 {
        let row = client.query_one(nested, &[&sample::RIVERSIDE, &own]).unwrap();
        let (id, secret): (Uuid, String) = (row.get(0), row.get(1));
        let stored = "select secret from webhook_delivery.endpoint_secrets where endpoint_id = $1";
        assert_eq!(client.query_one(stored, &[&id]).unwrap().get::<_, String>(0), secret);
        let rotated: String = row.get(2);
        assert_eq!(client.query_one(stored, &[&own]).unwrap().get::<_, String>(0), rotated);
    }
    let error = refusal(&mut client, nested, &[&sample::RIVERSIDE, &own]);
    assert_eq!(error.code().code(), "23514", "{error:?}");
    // One that was broken off leaves nothing behind.
    let broken = "do $$ begin
        insert into webhook_endpoints (auction_id, url, events) select gen_random_uuid(), 'https://example.com/', '{*}' from generate_series(1, 3) as n where n < 3 or 1 / (n - 3) > 0;
    exception when division_by_zero then
        insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), 'https://example.com/', '{*}');
    end $$";
    client.batch_execute(broken).unwrap();
    let without = "select count(*) from webhook_endpoints where id not in (select endpoint_id from webhook_delivery.endpoint_secrets)";
    assert_eq!(client.query_one(without, &[]).unwrap().get::<_, i64>(0), 0);
}

/// What a table editor does to "duplicate" a row, and an operator who copies one by hand.
#[test]
fn copy_of_a_row_is_checked_like_a_new_one() {
    let (_cluster, mut client) = cluster_with(&[]);
    let id: Uuid = client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    let copies = [
        ("(auction_id, url, events, secret) select auction_id, url, events, secret", "is the hint of another secret"),
        (
            "(id, auction_id, url, events, secret) select gen_random_uuid(), auction_id, url, events, secret",
            "is the hint of another secret",
        ),
        (
            "(auction_id, url, events, secret) select auction_id, 'http://10.0.0.5/x', events, secret",
            "address not allowed",
        ),
        ("(auction_id, url, events, secret) select auction_id, url, '{nonsense.type}', secret", "unknown event type"),
    ];
    for (copy, message) in copies {
        let error = refusal(
            &mut client,
            &format!("insert into webhook_endpoints {copy} from webhook_endpoints where id = $1"),
            &[&id],
        );
        assert!(error.message().contains(message), "{copy}: {error}");
        assert_eq!(error.code().code(), "22023");
        assert!(!error.hint().unwrap_or_default().is_empty());
    }
    // Without the secret it is a new endpoint, with one of its own.
    let copy = "insert into webhook_endpoints (auction_id, url, events) select auction_id, url, events from webhook_endpoints where id = $1
        returning generated_secret(webhook_endpoints)";
    let secret: String = client.query_one(copy, &[&id]).unwrap().get(0);
    assert!(secret.starts_with("whsec_"));
    let secrets = "select count(*) from webhook_endpoints where id in (select endpoint_id from webhook_delivery.endpoint_secrets)";
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 2);
}

#[test]
fn waits_of_a_schedule_are_counted_as_they_are_compared() {
    let (_cluster, mut client) = cluster_with(&[]);
    let insert = "insert into webhook_endpoints (auction_id, url, events, retry_schedule) values ($1, 'https://example.com/', '{*}', $2::text::interval[])";
    let with = |client: &mut Client, schedule: &str| client.execute(insert, &[&sample::RIVERSIDE, &schedule]);
    for schedule in ["{1 second,30 days}", "{2 days -47:59:59}", "{}"] {
        with(&mut client, schedule).unwrap_or_else(|e| panic!("{schedule}: {e:?}"));
    }
    for schedule in ["{1 mon}", "{-1000000 mons 30000001 days}", "{1000 years -360000 days 1 sec}"] {
        let error = refusal(&mut client, insert, &[&sample::RIVERSIDE, &schedule]);
        assert_eq!(error.code().code(), "22023", "{schedule}: {error}");
    }
    for schedule in ["{-5 minutes}", "{1 day -23:59:59.5}", "{31 days}", "{30 days 1 second}"] {
        let error = refusal(&mut client, insert, &[&sample::RIVERSIDE, &schedule]);
        assert_eq!(error.code().code(), "23514", "{schedule}: {error}");
    }
}
