//! The extension never aborts the user's transaction: timeouts, deadlocks, errors and a full disk
//! during capture.

use postgres::{Client, NoTls};
use uuid::Uuid;
use webhook_harness::{Application, Cluster, DEADLINE, Receiver, Reply, Submission, sample, server_error, wait_until};

/// An application with an endpoint for all of Riverside's events.
fn riverside() -> (Application, Receiver) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    (application, receiver)
}

#[track_caller]
fn execute(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
}

/// SQLSTATE, message and number of rows of each capture error.
fn capture_errors(application: &mut Application) -> Vec<(String, String, usize)> {
    let query = "select error_code, error_message, row_ids from webhook_delivery.capture_errors order by id";
    let rows = application.client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get::<_, Vec<Uuid>>(2).len())).collect()
}

/// Waits until the named session waits for a lock.
fn wait_until_blocked(cluster: &Cluster, application_name: &str) {
    wait_until("a session that waits for a lock", DEADLINE, || {
        let query = "select count(*) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'";
        (cluster.query_one::<i64>(query, &[&application_name]) == 1).then_some(())
    });
}

/// Inserts a submission in a session that has this setting, while another session locks the
/// endpoints for the given time.
fn submit_while_endpoints_are_locked(application: &mut Application, setting: &str, passed: &str) {
    let mut holder = application.cluster.connect();
    execute(&mut holder, "begin; lock table webhook_endpoints in access exclusive mode");
    let mut user = application.cluster.connect();
    execute(&mut user, &format!("set application_name = 'user'; {setting}"));
    let submitting = std::thread::spawn(move || {
        Submission::of_riverside().insert(&mut user);
        user
    });
    wait_until_blocked(&application.cluster, "user");
    wait_until("the limit to have passed", DEADLINE, || {
        let query = "select clock_timestamp() - query_start > $1::text::interval from pg_stat_activity where application_name = 'user'";
        application.cluster.query_one::<bool>(query, &[&passed]).then_some(())
    });
    execute(&mut holder, "commit");
    let mut user = submitting.join().expect("a saved submission");
    // The limit still applies to the user's own statements.
    if setting.contains("statement_timeout") {
        let error = server_error(user.batch_execute("select pg_sleep(30)").unwrap_err());
        assert_eq!(error.code().code(), "57014", "{error}");
    }
}

#[test]
fn user_timeouts_do_not_abort_a_commit_that_waits_for_capture() {
    let (mut application, receiver) = riverside();
    let mut settings = vec!["set lock_timeout = '50ms'", "set statement_timeout = '150ms'"];
    if application.count("select current_setting('server_version_num')::bigint") >= 170_000 {
        settings.push("set transaction_timeout = '150ms'");
    }
    for setting in &settings {
        submit_while_endpoints_are_locked(&mut application, setting, "300 ms");
    }
    receiver.wait_for(settings.len(), DEADLINE);
    assert_eq!(capture_errors(&mut application), []);
    assert_eq!(application.count("select count(*) from public.submissions"), settings.len() as i64);
}

#[test]
fn cancelled_commit_that_waits_for_capture_rolls_back() {
    let (mut application, receiver) = riverside();
    let mut holder = application.cluster.connect();
    execute(&mut holder, "begin; lock table webhook_endpoints in access exclusive mode");
    let mut user = application.cluster.connect();
    execute(&mut user, "set application_name = 'user'");
    let cancel = user.cancel_token();
    let submitting = std::thread::spawn(move || Submission::of_riverside().try_insert(&mut user));
    wait_until_blocked(&application.cluster, "user");
    cancel.cancel_query(NoTls).unwrap();
    let error = server_error(submitting.join().unwrap().unwrap_err());
    assert_eq!(error.code().code(), "57014", "{error}");
    execute(&mut holder, "commit");
    assert_eq!(application.count("select count(*) from public.submissions"), 0);
    assert_eq!(receiver.count(), 0);
}

#[test]
fn deadlock_victim_commits_and_its_event_can_be_recaptured() {
    let (mut application, receiver) = riverside();
    let id = Submission::of_riverside().insert(&mut application.client);
    receiver.wait_for(1, DEADLINE);
    let mut user = application.cluster.connect();
    // The session that checks for a deadlock first becomes its victim.
    execute(&mut user, "set application_name = 'user'; set deadlock_timeout = '20ms'; begin");
    user.execute("update public.submissions set image_url = 'https://img.example.com/1.jpg' where id = $1", &[&id])
        .unwrap();
    let mut other = application.cluster.connect();
    execute(
        &mut other,
        "set application_name = 'other'; set deadlock_timeout = '1h';
         begin; lock table webhook_endpoints in access exclusive mode",
    );
    let waiting = std::thread::spawn(move || {
        let update = "update public.submissions set image_url = 'https://img.example.com/2.jpg' where id = $1";
        other.execute(update, &[&id]).unwrap();
        execute(&mut other, "rollback");
    });
    wait_until_blocked(&application.cluster, "other");
    execute(&mut user, "commit");
    waiting.join().unwrap();
    let errors = capture_errors(&mut application);
    assert_eq!(errors, [("40P01".to_owned(), "deadlock detected".to_owned(), 1)]);
    let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
    assert_eq!(application.count(again), 1);
    let requests = receiver.wait_for(2, DEADLINE);
    assert_eq!(requests[1].json()["data"]["image_url"], "https://img.example.com/1.jpg");
    assert_eq!(capture_errors(&mut application), []);
}

#[test]
fn update_with_incomparable_column_types_is_saved_and_sent() {
    let (mut application, receiver) = riverside();
    let client = &mut application.client;
    execute(client, "alter table public.submissions add seen_at point, add extra json, add note xml");
    let id = Submission::of_riverside().insert(client);
    receiver.wait_for(1, DEADLINE);
    execute(client, "update public.submissions set extra = '{\"a\": 1}'");
    let requests = receiver.wait_for(2, DEADLINE);
    assert_eq!(requests[1].json()["data"]["id"], id.to_string());
    execute(client, "update public.submissions set extra = extra, seen_at = seen_at, note = note");
    execute(client, "update public.submissions set seen_at = '(1,2)'");
    receiver.wait_for(3, DEADLINE);
    application.settle();
    assert_eq!(receiver.count(), 3);
}

#[test]
fn transaction_set_read_only_after_a_write_is_saved_and_sent() {
    let (mut application, receiver) = riverside();
    execute(&mut application.client, "begin");
    Submission::of_riverside().insert_without_transaction(&mut application.client).unwrap();
    execute(&mut application.client, "set transaction read only; commit");
    receiver.wait_for(1, DEADLINE);
    assert_eq!(capture_errors(&mut application), []);
    // The session's next transaction can write.
    Submission::of_riverside().insert(&mut application.client);
    receiver.wait_for(2, DEADLINE);
}

#[test]
fn unexpected_key_type_is_a_capture_error_and_aborts_nothing() {
    let (mut application, receiver) = riverside();
    let mut client = application.cluster.connect();
    execute(
        &mut client,
        "alter table public.submission_entries drop constraint submission_entries_submission_id_fkey;
         alter table public.submission_entries alter submission_id type text",
    );
    let entry = "insert into public.submission_entries (submission_id, car_count) values ('a', 1)";
    execute(&mut client, &format!("{entry}; {entry}"));
    execute(&mut client, "update public.submission_entries set car_count = 2");
    let errors = capture_errors(&mut application);
    assert_eq!(errors.len(), 2, "one capture error for each transaction: {errors:?}");
    for (code, message, rows) in errors {
        assert_eq!((code.as_str(), rows), ("42804", 0));
        assert!(message.ends_with("column submission_id is not of type uuid"), "{message}");
    }
    let hints = "select count(*) from webhook_delivery.capture_errors where hint like '%install_triggers()%'";
    assert_eq!(application.count(hints), 2);
    let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
    let captured: Vec<Option<i64>> = client.query(again, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(captured, [None, None]);
    assert_eq!(application.count(hints), 2, "the capture errors stay");
    // The payload gives a submission's auction where the trigger cannot read it.
    execute(&mut client, "delete from webhook_delivery.capture_errors; drop table public.submission_entries");
    execute(
        &mut client,
        "create table public.submission_entries (id uuid, submission_id uuid, type_id uuid, position integer, car_count integer, image_url text);
         create domain public.auction_key as uuid; alter table public.submissions alter auction_id type public.auction_key",
    );
    execute(
        &mut client,
        "insert into public.submissions (auction_id) select id from public.auctions where name like 'Riverside%'",
    );
    receiver.wait_for(1, DEADLINE);
    assert_eq!(capture_errors(&mut application), []);
}

#[test]
fn text_auction_id_that_is_no_uuid_is_a_capture_error() {
    let (mut application, receiver) = riverside();
    let client = &mut application.client;
    execute(
        client,
        "alter table public.submissions drop constraint submissions_auction_id_fkey;
         alter table public.submissions alter auction_id type text",
    );
    // Without a check of the type the server would read the bytes of a text as a uuid.
    let insert = "insert into public.submissions (auction_id) values";
    execute(client, &format!("{insert} ('{}')", sample::RIVERSIDE));
    receiver.wait_for(1, DEADLINE);
    execute(client, &format!("{insert} ('x')"));
    execute(client, &format!("{insert} (repeat('a long name of no auction at all', 100))"));
    let errors = capture_errors(&mut application);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|(code, _, rows)| code == "22P02" && *rows == 1), "{errors:?}");
    assert_eq!(application.count("select count(*) from public.submissions"), 3);
}

#[test]
fn failing_error_handler_aborts_nothing_and_warns_of_the_loss() {
    let (mut application, receiver) = riverside();
    execute(
        &mut application.client,
        "alter table public.users rename full_name to fullname;
         create function public.disk_full() returns trigger language plpgsql as
             $$ begin raise exception using errcode = 'disk_full', message = 'no space left on device'; end $$;
         create trigger disk_is_full before insert on webhook_delivery.capture_errors for each row execute function public.disk_full()",
    );
    let warnings = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&warnings);
    let mut config = application.cluster.config();
    config.notice_callback(move |notice| heard.lock().unwrap().push(notice));
    let id = Submission::of_riverside().insert(&mut config.connect(NoTls).unwrap());
    assert_eq!(application.count("select count(*) from public.submissions"), 1);
    assert_eq!(capture_errors(&mut application), []);
    let warnings = warnings.lock().unwrap();
    let [unwritten, unsent] = warnings.as_slice() else { panic!("expected two warnings, not {warnings:?}") };
    assert!(
        unwritten.message().contains("could not write webhook_delivery.capture_errors: no space left"),
        "{unwritten}"
    );
    assert!(unsent.message().contains("submission.created was not sent"), "{unsent}");
    assert!(unsent.detail().unwrap_or_default().contains(&id.to_string()), "{unsent:?}");
    assert!(unsent.hint().unwrap_or_default().contains("Only this warning"), "{unsent:?}");
    assert_eq!(receiver.count(), 0);
}

#[test]
fn full_disk_costs_an_event_until_it_is_recaptured() {
    let (mut application, receiver) = riverside();
    execute(
        &mut application.client,
        "create function public.disk_full() returns trigger language plpgsql as
             $$ begin raise exception using errcode = 'disk_full', message = 'no space left on device'; end $$;
         create trigger disk_is_full before insert on webhook_delivery.queue for each row execute function public.disk_full()",
    );
    let id = Submission::of_riverside().insert(&mut application.client);
    assert_eq!(capture_errors(&mut application), [("53100".to_owned(), "no space left on device".to_owned(), 1)]);
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 0, "no event without its queue row");
    let occurred_at = "select to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') from webhook_delivery.capture_errors";
    let occurred_at: String = application.client.query_one(occurred_at, &[]).unwrap().get(0);
    let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
    // A recapture that fails keeps the capture error.
    assert_eq!(application.count(again), 0);
    assert_eq!(capture_errors(&mut application).len(), 1);
    execute(&mut application.client, "drop trigger disk_is_full on webhook_delivery.queue");
    assert_eq!(application.count(again), 1);
    let body = receiver.wait_for(1, DEADLINE)[0].json();
    assert_eq!((&body["data"]["id"], &body["timestamp"]), (&id.to_string().into(), &occurred_at.into()));
    assert_eq!(capture_errors(&mut application), []);
    let absent = application.client.query_one("select webhook_delivery.recapture(4711)", &[]).unwrap();
    assert_eq!(absent.get::<_, Option<i64>>(0), None);
}

#[test]
fn emit_documents_that_a_full_disk_aborts_the_transaction() {
    let (mut application, receiver) = riverside();
    let client = &mut application.client;
    execute(
        client,
        "create function public.disk_full() returns trigger language plpgsql as
             $$ begin raise exception using errcode = 'disk_full', message = 'no space left on device'; end $$;
         create trigger disk_is_full before insert on webhook_delivery.queue for each row execute function public.disk_full()",
    );
    let mut transaction = client.transaction().unwrap();
    Submission::of_riverside().insert(&mut transaction);
    transaction.execute("select webhook_delivery.emit('submission.created', $1, '{}')", &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(server_error(transaction.commit().unwrap_err()).code().code(), "53100");
    assert_eq!(application.count("select count(*) from public.submissions"), 0);
    let documented = "select count(*) from pg_description
        where objoid = 'webhook_delivery.emit(text, uuid, json)'::regprocedure and description like '%53100%'";
    assert_eq!(application.count(documented), 1);
    // The session continues, and events of triggers abort no transaction.
    Submission::of_riverside().insert(&mut application.client);
    assert_eq!(application.count("select count(*) from public.submissions"), 1);
    assert_eq!((capture_errors(&mut application).len(), receiver.count()), (1, 0));
}

#[test]
fn row_moved_to_an_auction_with_endpoints_is_sent_there() {
    let (mut application, receiver) = riverside();
    let client = &mut application.client;
    // Hilltop has no endpoint.
    let moved = Submission { auction_id: sample::HILLTOP, ..Submission::of_riverside() };
    let id = moved.insert(client);
    let update = "update public.submissions set auction_id = $2 where id = $1";
    client.execute(update, &[&id, &sample::RIVERSIDE]).unwrap();
    let requests = receiver.wait_for(1, DEADLINE);
    assert_eq!(requests[0].event(), Some("submission.updated"));
    // An insert and a move within one transaction send `created`.
    let mut transaction = client.transaction().unwrap();
    let id = moved.insert(&mut transaction);
    transaction.execute(update, &[&id, &sample::RIVERSIDE]).unwrap();
    transaction.commit().unwrap();
    let requests = receiver.wait_for(2, DEADLINE);
    assert_eq!(requests[1].event(), Some("submission.created"));
    assert_eq!(requests[1].json()["data"]["id"], id.to_string());
    // A move that is rolled back has no effect.
    let mut transaction = client.transaction().unwrap();
    let id = Submission::of_riverside().insert(&mut transaction);
    let mut savepoint = transaction.transaction().unwrap();
    savepoint.execute(update, &[&id, &sample::HILLTOP]).unwrap();
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();
    let requests = receiver.wait_for(3, DEADLINE);
    assert_eq!(requests[2].json()["data"]["id"], id.to_string());
    // A move to an auction without endpoints sends nothing.
    client.execute(update, &[&id, &sample::HILLTOP]).unwrap();
    application.settle();
    assert_eq!(receiver.count(), 3);
}
