//! Validation of endpoints when they are written.

use super::*;

#[test]
fn only_https_urls_without_credentials_are_accepted() {
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.allow_http", "off")]);
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
        ("example.com/hooks", "the URL has no scheme"),
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
        // An update is checked like an insert.
        let error = refusal(&mut client, "update webhook_endpoints set url = $1", &[&url]);
        assert!(error.message().starts_with(message), "{url}: {error}");
    }
    // The normalized form is longer: each character becomes three.
    let long_when_normal = format!("https://example.com/{}", "{".repeat(700));
    for url in [too_long, long_when_normal] {
        let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"]]);
        assert_eq!((error.code().code(), error.message()), ("22023", "the URL has more than 2000 characters"));
    }
}

#[test]
fn http_is_accepted_if_allow_http_is_on() {
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.allow_http", "on")]);
    client.execute(INSERT, &[&sample::RIVERSIDE, &"http://127.0.0.1:9/", &vec!["*"]]).unwrap();
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &"ftp://127.0.0.1/", &vec!["*"]]);
    assert!(error.message().contains("not ftp:"), "{error}");
}

#[test]
fn subscription_must_name_known_events_families_or_all() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
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
            assert_eq!(
                hint.starts_with("Did you mean submission.created? "),
                ["Submission.created", " submission.created"].contains(&event),
                "{event}"
            );
        }
    }
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec![None, Some("*")]]);
    assert_eq!(error.code().code(), "22023", "{error}");
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &Vec::<&str>::new()]);
    assert_eq!(error.message(), "events must have 1 to 100 entries in one dimension, not 0");
    let error = refusal(&mut client, INSERT, &[&sample::RIVERSIDE, &url, &vec!["*"; 101]]);
    assert_eq!(error.code().code(), "22023", "{error}");
}

#[test]
fn update_keeps_id_and_auction_and_sets_updated_at() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let id: Uuid = client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    for change in [format!("auction_id = '{}'", sample::HILLTOP), "id = gen_random_uuid()".to_owned()] {
        let error = refusal(&mut client, &format!("update webhook_endpoints set {change} where id = $1"), &[&id]);
        assert_eq!(error.code().code(), "22023", "{change}: {error}");
        assert_eq!(error.message(), "id and auction_id of a webhook endpoint must not be changed");
        assert_eq!(error.hint(), Some("Create a new endpoint instead."));
    }
    let change = "update webhook_endpoints set description = 'Ours', created_at = '2000-01-01', updated_at = '2000-01-01', auction_id = auction_id
        where id = $1 returning created_at > now() - interval '1 minute', updated_at = now(), updated_at > created_at";
    let row = client.query_one(change, &[&id]).unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (true, true, true));
}

#[test]
fn server_sets_times_and_creator_of_an_endpoint() {
    let (cluster, mut client) = Cluster::with_client(&[]);
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
    // Another administrator changes the endpoint.
    let mut kim = tenant::session_of(&cluster, "tenant", sample::KIM);
    let change = "update webhook_endpoints set updated_at = 'infinity', created_at = '-infinity', created_by = 'kim', description = 'x'
        where id = $1 returning updated_at = now(), created_at < now(), created_by";
    let row = kim.query_one(change, &[&id]).unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (true, true, sample::DANA.to_string()));
    // An upsert does not change the creator either.
    let upsert = "insert into webhook_endpoints (id, auction_id, url, events, created_at, created_by) values ($1, $2, 'https://example.com/', '{*}', 'infinity', 'x')
        on conflict (id) do update set created_at = excluded.created_at, created_by = excluded.created_by
        returning created_at < now(), created_by";
    let row = kim.query_one(upsert, &[&id, &auction]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, sample::DANA.to_string()));
    // An operator's endpoint has no creator, nor does one with claims that are not JSON.
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
fn max_endpoints_holds_for_concurrent_transactions() {
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.max_endpoints", "5")]);
    // The first endpoints of an auction and further ones, in both isolation levels.
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

/// A function in RETURNING runs a statement on the same table before the first one has ended.
#[test]
fn nested_statement_neither_exceeds_limit_nor_loses_secret() {
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.max_endpoints", "3")]);
    let own: Uuid =
        client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    let nested = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')
        returning id, generated_secret(webhook_endpoints), rotate_webhook_secret($2)";
    for _ in 0..2 {
        let row = client.query_one(nested, &[&sample::RIVERSIDE, &own]).unwrap();
        let (id, secret): (Uuid, String) = (row.get(0), row.get(1));
        let stored = "select secret from webhook_delivery.endpoint_secrets where endpoint_id = $1 and not is_previous";
        assert_eq!(client.query_one(stored, &[&id]).unwrap().get::<_, String>(0), secret);
        let rotated: String = row.get(2);
        assert_eq!(client.query_one(stored, &[&own]).unwrap().get::<_, String>(0), rotated);
    }
    let error = refusal(&mut client, nested, &[&sample::RIVERSIDE, &own]);
    assert_eq!(error.code().code(), "23514", "{error:?}");
    // A statement that fails leaves nothing behind.
    let broken = "do $$ begin
        insert into webhook_endpoints (auction_id, url, events) select gen_random_uuid(), 'https://example.com/', '{*}' from generate_series(1, 3) as n where n < 3 or 1 / (n - 3) > 0;
    exception when division_by_zero then
        insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), 'https://example.com/', '{*}');
    end $$";
    client.batch_execute(broken).unwrap();
    let without = "select count(*) from webhook_endpoints where id not in (select endpoint_id from webhook_delivery.endpoint_secrets)";
    assert_eq!(client.query_one(without, &[]).unwrap().get::<_, i64>(0), 0);
}

/// A table editor duplicates rows in this way, and so does an operator by hand.
#[test]
fn copy_of_a_row_is_checked_like_a_new_one() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let id: Uuid = client.query_one(INSERT, &[&sample::RIVERSIDE, &"https://example.com/", &vec!["*"]]).unwrap().get(0);
    let copies = [
        ("(auction_id, url, events, secret) select auction_id, url, events, secret", "is the hint of another secret"),
        (
            "(id, auction_id, url, events, secret) select gen_random_uuid(), auction_id, url, events, secret",
            "is the hint of another secret",
        ),
        (
            "(auction_id, url, events, secret) select auction_id, 'http://10.0.0.5/x', events, secret",
            "10.0.0.5 is a private address",
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
    // A copy without the secret is a new endpoint with a secret of its own.
    let copy = "insert into webhook_endpoints (auction_id, url, events) select auction_id, url, events from webhook_endpoints where id = $1
        returning generated_secret(webhook_endpoints)";
    let secret: String = client.query_one(copy, &[&id]).unwrap().get(0);
    assert!(secret.starts_with("whsec_"));
    let secrets = "select count(*) from webhook_endpoints where id in (select endpoint_id from webhook_delivery.endpoint_secrets)";
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 2);
}

#[test]
fn retry_schedule_limits_apply_to_the_whole_interval() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
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
