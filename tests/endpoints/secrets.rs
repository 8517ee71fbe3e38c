//! Secrets: where a secret is visible, which statements change it, and which one signs.

use std::sync::{Arc, Mutex};

use postgres::Client;
use uuid::Uuid;
use webhook_harness::verify::{assert_signed, count_valid};
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, refusal, sample};

mod needs_contrib;

const FIRST: &str = "the first secret of all";
const SECOND: &str = "a second one, not the same";

fn application() -> (Application, Receiver) {
    (Application::start(&[]), Receiver::start(|_| Reply::ok()))
}

/// The secret of the only row that a statement returns.
#[track_caller]
fn returned(client: &mut Client, sql: &str, id: Uuid) -> String {
    client.query_one(sql, &[&id]).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error())).get("secret")
}

/// The secret as the worker reads it.
fn stored(client: &mut Client, id: Uuid) -> String {
    let sql = "select secret from webhook_delivery.endpoint_secrets where endpoint_id = $1";
    client.query_one(sql, &[&id]).unwrap().get(0)
}

fn with_secret(application: &mut Application, receiver: &Receiver, secret: &str) -> Endpoint {
    Endpoint::create_with_secret(&mut application.client, &receiver.url("/"), secret)
}

#[test]
fn generated_secret_is_shown_once_and_signs() {
    let (mut application, receiver) = application();
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let encoded = endpoint.secret.strip_prefix("whsec_").expect("a secret in the form of Standard Webhooks");
    assert_eq!(encoded.len(), 44, "32 bytes in base64: {encoded}");
    let hint = format!("...{}", &endpoint.secret[endpoint.secret.len() - 4..]);
    let client = &mut application.client;
    for read in [
        "select secret from webhook_endpoints where id = $1",
        "update webhook_endpoints set description = 'x' where id = $1 returning secret",
        "update webhook_endpoints set secret = null where id = $1 returning secret",
    ] {
        assert_eq!(returned(client, read, endpoint.id), hint, "{read}");
    }
    endpoint.emit(client, 1);
    assert_signed(&endpoint.secret, &receiver.wait_for(1, DEADLINE));
    let delete = "delete from webhook_endpoints where id = $1 returning secret";
    assert_eq!(returned(client, delete, endpoint.id), hint);
}

#[test]
fn each_row_of_an_insert_gets_its_own_secret() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    let insert = "insert into webhook_endpoints (auction_id, url, events, secret)
        select $1, 'https://example.com/', '{*}', case when n = 2 then 'the one that is given' end from generate_series(1, 3) as n
        returning id, generated_secret(webhook_endpoints), secret";
    let rows = client.query(insert, &[&sample::RIVERSIDE]).unwrap();
    let mut secrets: Vec<String> = rows.iter().map(|row| stored(client, row.get(0))).collect();
    assert_eq!(rows[0].get::<_, String>(1), secrets[0]);
    assert_eq!((rows[1].get(1), rows[1].get(2)), (None::<String>, "...iven"));
    assert_eq!(secrets[1], "the one that is given");
    assert_eq!(rows[2].get::<_, String>(1), secrets[2]);
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 3);
    // Within the same transaction, too, only RETURNING shows the secret.
    let mut transaction = client.transaction().unwrap();
    let with_cte = "with made as (insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}') returning id, generated_secret(webhook_endpoints))
        select id, generated_secret from made";
    let row = transaction.query_one(with_cte, &[&sample::RIVERSIDE]).unwrap();
    assert!(row.get::<_, String>(1).starts_with("whsec_"));
    let later = "select secret, generated_secret(webhook_endpoints) from webhook_endpoints where id = $1";
    let read = transaction.query_one(later, &[&row.get::<_, Uuid>(0)]).unwrap();
    assert_eq!((read.get::<_, String>(0).chars().count(), read.get(1)), (7, None::<String>));
}

#[test]
fn given_secret_is_never_shown_again() {
    let (mut application, receiver) = application();
    let client = &mut application.client;
    let insert = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, gen_random_uuid(), 'https://example.com/', '{*}', 'a secret that I know') returning secret";
    let id = Uuid::new_v4();
    assert_eq!(returned(client, insert, id), "...know");
    let change = "update webhook_endpoints set secret = 'another that I knew' where id = $1 returning secret";
    assert_eq!(returned(client, change, id), "...knew");
    assert_eq!(stored(client, id), "another that I knew");
    // Error messages about the row do not contain it either.
    let spoilt = "insert into webhook_endpoints (auction_id, url, events, secret, description) values ($1, 'https://example.com/', '{*}', 'do not tell anybody', repeat('x', 1001))";
    let error = refusal(client, spoilt, &[&sample::RIVERSIDE]);
    assert_eq!(error.code().code(), "23514");
    assert!(!format!("{error:?}").contains("do not tell"), "{error:?}");
    let error = refusal(
        client,
        "update webhook_endpoints set secret = 'do not tell anybody', events = '{}' where id = $1",
        &[&id],
    );
    assert!(!format!("{error:?}").contains("do not tell"), "{error:?}");
    let endpoint = with_secret(&mut application, &receiver, FIRST);
    endpoint.emit(&mut application.client, 1);
    assert_signed(FIRST, &receiver.wait_for(1, DEADLINE));
}

#[test]
fn secret_has_16_to_256_characters_and_base64_after_whsec() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    let insert = "insert into webhook_endpoints (auction_id, url, events, secret) values (gen_random_uuid(), 'https://example.com/', '{*}', $1)";
    let longest = "é".repeat(256);
    for secret in ["exactly16letters", &longest, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "WHSEC_is not the prefix"] {
        client.execute(insert, &[&secret]).unwrap_or_else(|e| panic!("{secret}: {:?}", e.as_db_error()));
    }
    let too_long = "x".repeat(257);
    for (secret, message) in [
        ("", "secret must have 16 to 256 characters, not 0"),
        ("only 15 letters", "secret must have 16 to 256 characters, not 15"),
        (&too_long, "secret must have 16 to 256 characters, not 257"),
        ("whsec_this is not base64", "secret that begins with whsec_ must continue in base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "secret that begins with whsec_ must continue in base64"),
    ] {
        for statement in [insert, "update webhook_endpoints set secret = $1"] {
            let error = refusal(client, statement, &[&secret]);
            assert_eq!((error.code().code(), error.message()), ("22023", message));
            assert!(!error.hint().unwrap_or_default().is_empty(), "{message}");
            assert!(secret.is_empty() || !format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}

#[test]
fn written_back_hint_keeps_the_secret_and_a_new_one_signs() {
    let (mut application, receiver) = application();
    let endpoint = with_secret(&mut application, &receiver, FIRST);
    let client = &mut application.client;
    // Applications read a row, change a field and write the whole row back.
    let write_back = "update webhook_endpoints as endpoint set secret = seen.secret, description = 'edited'
        from (select id, secret from webhook_endpoints) as seen where seen.id = endpoint.id and endpoint.id = $1";
    client.execute(write_back, &[&endpoint.id]).unwrap();
    assert_eq!(stored(client, endpoint.id), FIRST);
    endpoint.emit(client, 1);
    assert_signed(FIRST, &receiver.wait_for(1, DEADLINE));
    receiver.clear();
    client.execute("update webhook_endpoints set secret = $2 where id = $1", &[&endpoint.id, &SECOND]).unwrap();
    endpoint.emit(client, 1);
    let requests = receiver.wait_for(1, DEADLINE);
    assert_signed(SECOND, &requests);
    assert_eq!(count_valid(FIRST, &requests), 0);
    // A rolled back change has no effect.
    client.batch_execute("begin").unwrap();
    client.execute("update webhook_endpoints set secret = $2 where id = $1", &[&endpoint.id, &FIRST]).unwrap();
    client.batch_execute("rollback").unwrap();
    assert_eq!(stored(client, endpoint.id), SECOND);
}

#[test]
fn upsert_changes_the_secret_only_if_it_gives_one() {
    let (mut application, receiver) = application();
    let endpoint = with_secret(&mut application, &receiver, FIRST);
    let client = &mut application.client;
    let without =
        "insert into webhook_endpoints (id, auction_id, url, events) values ($1, $2, 'https://example.com/new', '{*}')
        on conflict (id) do update set url = excluded.url returning secret, url";
    let row = client.query_one(without, &[&endpoint.id, &endpoint.auction_id]).unwrap();
    assert_eq!((row.get(0), row.get(1)), ("... all", "https://example.com/new"));
    assert_eq!(stored(client, endpoint.id), FIRST);

    let with = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/', '{*}', $3)
        on conflict (id) do update set url = excluded.url, secret = excluded.secret returning secret";
    let row = client.query_one(with, &[&endpoint.id, &endpoint.auction_id, &SECOND]).unwrap();
    assert_eq!(row.get::<_, String>(0), "...same");
    assert_eq!(stored(client, endpoint.id), SECOND);
    // The same statement inserts a new endpoint.
    let new = Uuid::new_v4();
    client.query_one(with, &[&new, &endpoint.auction_id, &FIRST]).unwrap();
    assert_eq!(stored(client, new), FIRST);
    assert!(
        client
            .query_one(
                &format!("{without}, generated_secret(webhook_endpoints)"),
                &[&Uuid::new_v4(), &endpoint.auction_id]
            )
            .unwrap()
            .get::<_, String>(2)
            .starts_with("whsec_")
    );
}

#[test]
fn insert_on_conflict_do_nothing_keeps_the_secret() {
    let (mut application, receiver) = application();
    let endpoint = with_secret(&mut application, &receiver, FIRST);
    let nothing = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, gen_random_uuid(), 'https://example.com/', '{*}', $2)
        on conflict do nothing";
    // The last secret has the same hint as the stored one: the same last four characters.
    for other in [SECOND, "no secret of mine at all"] {
        let mut transaction = application.client.transaction().unwrap();
        assert_eq!(transaction.execute(nothing, &[&endpoint.id, &other]).unwrap(), 0);
        transaction
            .execute("update webhook_endpoints set description = 'later' where id = $1", &[&endpoint.id])
            .unwrap();
        transaction.commit().unwrap();
        assert_eq!(stored(&mut application.client, endpoint.id), FIRST, "after {other}");
    }
    // A failed insert leaves nothing behind in its transaction.
    let client = &mut application.client;
    client.batch_execute("begin; savepoint before").unwrap();
    let failing = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, gen_random_uuid(), 'https://example.com/', '{*}', $2)";
    assert!(client.execute(failing, &[&endpoint.id, &SECOND]).is_err());
    client.batch_execute("rollback to before").unwrap();
    client.execute("update webhook_endpoints set description = 'still' where id = $1", &[&endpoint.id]).unwrap();
    client.batch_execute("commit").unwrap();
    assert_eq!(stored(client, endpoint.id), FIRST);
}

#[test]
fn generated_secret_that_is_not_returned_raises_a_notice() {
    let (application, _receiver) = application();
    let notices = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&notices);
    let mut config = application.cluster.config();
    config.notice_callback(move |notice| heard.lock().unwrap().push(notice));
    let mut client = config.connect(postgres::NoTls).unwrap();
    let insert =
        "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}') returning";
    client.query_one(&format!("{insert} generated_secret(webhook_endpoints)"), &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(notices.lock().unwrap().len(), 0);
    client.query_one(&format!("{insert} id, secret"), &[&sample::RIVERSIDE]).unwrap();
    let notices = notices.lock().unwrap();
    let [notice] = notices.as_slice() else { panic!("expected one notice, not {notices:?}") };
    assert!(notice.message().ends_with("has a generated secret that was not shown"), "{notice}");
    assert!(notice.hint().unwrap_or_default().contains("generated_secret(webhook_endpoints)"), "{notice:?}");
}

#[test]
fn upsert_without_a_new_secret_keeps_the_stored_one() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    let given = Uuid::new_v4();
    let insert = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/', '{*}', $3)";
    client.execute(insert, &[&given, &sample::RIVERSIDE, &FIRST]).unwrap();
    let generated = Endpoint::create(client, "https://example.com/");
    for (id, auction_id, secret) in
        [(given, sample::RIVERSIDE, FIRST), (generated.id, generated.auction_id, generated.secret.as_str())]
    {
        let hint = format!("...{}", &secret[secret.len() - 4..]);
        for (proposed, change) in [
            ("null", "secret = excluded.secret"),
            ("$3", "secret = excluded.secret"),
            ("null", "secret = null"),
            ("null", "secret = webhook_endpoints.secret"),
            ("null", "url = excluded.url"),
            ("'another secret that is long'", "url = excluded.url"),
        ] {
            let upsert = format!(
                "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/2', '{{*}}', {proposed})
                 on conflict (id) do update set {change} returning secret, generated_secret(webhook_endpoints), $3::text"
            );
            let row =
                client.query_one(&upsert, &[&id, &auction_id, &hint]).unwrap_or_else(|e| panic!("{upsert}: {e:?}"));
            assert_eq!((row.get::<_, String>(0), row.get(1)), (hint.clone(), None::<String>), "{upsert}");
            assert_eq!(stored(client, id), secret, "{upsert}");
        }
    }
    // A given secret is stored.
    let upsert = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/2', '{*}', $3)
        on conflict (id) do update set secret = excluded.secret";
    client.execute(upsert, &[&given, &sample::RIVERSIDE, &SECOND]).unwrap();
    assert_eq!(stored(client, given), SECOND);
    // The hint of another secret is refused.
    let error = refusal(client, upsert, &[&generated.id, &generated.auction_id, &"...same"]);
    assert_eq!((error.code().code(), error.message()), ("22023", "...same is the hint of another secret"));
}

/// supabase-js sends several rows like this if one has a secret: the others have null.
#[test]
fn upsert_of_several_rows_changes_only_given_secrets() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    let endpoints = [(); 3].map(|()| Endpoint::create(client, "https://example.com/"));
    let upsert = "insert into webhook_endpoints (id, auction_id, url, events, secret)
        select id, auction_id, 'https://example.com/2', events, case id when $1 then $2 when $3 then secret end from webhook_endpoints
        on conflict (id) do update set url = excluded.url, events = excluded.events, secret = excluded.secret";
    client.execute(upsert, &[&endpoints[1].id, &SECOND, &endpoints[2].id]).unwrap();
    assert_eq!(stored(client, endpoints[0].id), endpoints[0].secret);
    assert_eq!(stored(client, endpoints[1].id), SECOND);
    assert_eq!(stored(client, endpoints[2].id), endpoints[2].secret);
}
