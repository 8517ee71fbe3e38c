//! Tests with modules of PostgreSQL's contrib, which not every server has. `tests/run.sh` runs them
//! if the server has them.

use super::*;

#[test]
#[ignore = "needs test_decoding of PostgreSQL's contrib"]
fn secret_is_hidden_from_logical_decoding_and_other_triggers() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[("wal_level", "logical")]);
    let client = &mut application.client;
    client
        .batch_execute(
            "create table public.overheard (by text, what text);
             create function public.overhear() returns trigger language plpgsql as $$
             begin
                 insert into public.overheard values
                     (tg_name, to_jsonb(new)::text), (tg_name, generated_secret(new)), (tg_name, public.generated_secret(new));
                 return new;
             end $$;
             create trigger a_first before insert on webhook_endpoints for each row execute function public.overhear();
             create trigger zz_last before insert on webhook_endpoints for each row execute function public.overhear();
             create trigger a_first_after after insert on webhook_endpoints for each row execute function public.overhear();
             create trigger zz_last_after after insert or update on webhook_endpoints for each row execute function public.overhear()",
        )
        .unwrap();
    client.execute("select pg_create_logical_replication_slot('overhearing', 'test_decoding')", &[]).unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    assert!(endpoint.secret.starts_with("whsec_"));
    let client = &mut application.client;
    let given = "insert into webhook_endpoints (auction_id, url, events, secret) values ($1, 'https://example.com/', '{*}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')";
    client.execute(given, &[&sample::RIVERSIDE]).unwrap();
    // A trigger that runs before the extension's sees the secret that the statement gives, but no
    // generated secret.
    let overheard = "select count(*) from public.overheard where what like '%whsec_%' and not (by = 'a_first' and what like '%MfKQ9r8G%')";
    assert_eq!(application.count(overheard), 0);
    assert!(application.count("select count(*) from public.overheard where what like '%...____%'") >= 4);
    let changes =
        "select data from pg_logical_slot_get_changes('overhearing', null, null) where data like 'table public.%'";
    let decoded: Vec<String> = application.client.query(changes, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let of_endpoints: Vec<&String> =
        decoded.iter().filter(|line| line.starts_with("table public.webhook_endpoints:")).collect();
    assert!(!of_endpoints.is_empty());
    for line in of_endpoints {
        assert!(!line.contains("whsec_"), "{line}");
    }
    // The generated secret signs nevertheless.
    endpoint.emit(&mut application.client, 1);
    assert_signed(&endpoint.secret, &receiver.wait_for(1, DEADLINE));
}

#[test]
#[ignore = "needs pg_stat_statements of PostgreSQL's contrib"]
fn secret_is_in_no_message_log_line_or_recorded_statement() {
    let watching = [
        ("shared_preload_libraries", "webhook_delivery, pg_stat_statements"),
        ("pg_stat_statements.track", "all"),
        ("log_min_messages", "debug1"),
        ("log_error_verbosity", "verbose"),
    ];
    let receiver = Receiver::by_path();
    let mut application = Application::start(&watching);
    let client = &mut application.client;
    client.batch_execute("create extension pg_stat_statements").unwrap();
    let messages = Arc::new(Mutex::new(String::new()));
    let noticed = Arc::clone(&messages);
    let mut config = application.cluster.config();
    config.notice_callback(move |notice| noticed.lock().unwrap().push_str(&format!("{notice:?}")));
    let mut session = config.connect(postgres::NoTls).unwrap();
    let insert = "insert into webhook_endpoints (auction_id, url, events, description, secret) values ($1, $2, $3, $4, $5) returning id";
    let (long, good_url) = ("a".repeat(1_001), receiver.url("/status/500"));
    let id: Uuid =
        session.query_one(insert, &[&sample::RIVERSIDE, &good_url, &vec!["*"], &None::<&str>, &FIRST]).unwrap().get(0);
    for (auction_id, url, event, description) in [
        (Some(sample::RIVERSIDE), "no url", "*", None),
        (Some(sample::RIVERSIDE), good_url.as_str(), "no.such", None),
        (Some(sample::RIVERSIDE), good_url.as_str(), "*", Some(long.as_str())),
        (None, good_url.as_str(), "*", None),
    ] {
        let error = refusal(&mut session, insert, &[&auction_id, &url, &vec![event], &description, &FIRST]);
        messages.lock().unwrap().push_str(&format!("{error:?}"));
    }
    let given_twice =
        "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, $3, '{*}', $4)";
    let error = refusal(&mut session, given_twice, &[&id, &sample::RIVERSIDE, &good_url, &FIRST]);
    messages.lock().unwrap().push_str(&format!("{error:?}"));
    let endpoint = Endpoint { id, auction_id: sample::RIVERSIDE, secret: FIRST.to_owned() };
    endpoint.emit(&mut session, 1);
    endpoint.wait_for(&mut session, 1, "retrying");
    session.execute("update webhook_endpoints set secret = $2 where id = $1", &[&id, &SECOND]).unwrap();

    let remembered = "select string_agg(text, ' ') from (
        select query from pg_stat_statements union all select query from pg_stat_activity
        union all select delivery::text from webhook_deliveries as delivery
        union all select made::text from webhook_delivery_attempts as made
        union all select error::text from webhook_delivery.capture_errors as error
        union all select status::text from webhook_delivery.status as status) as known (text)";
    let remembered: String = session.query_one(remembered, &[]).unwrap().get(0);
    assert!(remembered.contains("endpoint_secrets"), "statements of the extension's functions are recorded too");
    let messages = messages.lock().unwrap();
    assert!(messages.contains("description must have at most 1000 characters"), "{messages}");
    let log = application.cluster.log();
    assert!(log.contains("description must have at most 1000 characters"));
    for secret in [FIRST, SECOND] {
        for (place, text) in [("a message", messages.as_str()), ("the log", log.as_str()), ("the server", &remembered)]
        {
            assert!(!text.contains(secret), "{place} has a secret: {text}");
        }
    }
}
