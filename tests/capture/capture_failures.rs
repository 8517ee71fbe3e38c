//! Capture for users without privileges on the extension, and events that cannot be built: the
//! user's change is saved unless `on_capture_error` is `error`.

use std::sync::{Arc, Mutex};

use postgres::NoTls;
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, Submission, sample, server_error};

/// An application with an endpoint for all of Riverside's events.
fn riverside(settings: &[(&str, &str)]) -> (Application, Receiver, Endpoint) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(settings);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    (application, receiver, endpoint)
}

/// A row of `capture_errors`.
#[derive(Debug)]
struct CaptureError {
    event_type: String,
    row_ids: Vec<Uuid>,
    code: String,
    message: String,
    hint: Option<String>,
}

fn capture_errors(application: &mut Application) -> Vec<CaptureError> {
    let query =
        "select event_type, row_ids, error_code, error_message, hint from webhook_delivery.capture_errors order by id";
    let error = |row: &postgres::Row| CaptureError {
        event_type: row.get(0),
        row_ids: row.get(1),
        code: row.get(2),
        message: row.get(3),
        hint: row.get(4),
    };
    application.client.query(query, &[]).unwrap().iter().map(error).collect()
}

/// Waits until nothing is left to send, then returns the submissions whose events arrived, sorted.
fn arrived(application: &mut Application, receiver: &Receiver) -> Vec<Uuid> {
    application.settle();
    let id = |body: serde_json::Value| body["data"]["id"].as_str().unwrap().parse().unwrap();
    let mut ids: Vec<Uuid> = receiver.requests().iter().map(|request| id(request.json())).collect();
    ids.sort();
    ids
}

const CLERK: &str = "create role clerk login;
    grant usage on schema public to clerk;
    grant select, insert, update on public.submissions, public.submission_entries to clerk";

#[test]
fn changes_of_a_role_without_privileges_are_captured() {
    let (mut application, receiver, _) = riverside(&[]);
    application.client.batch_execute(CLERK).unwrap();
    let mut clerk = application.cluster.connect_as("clerk", "postgres");
    let error = server_error(clerk.query("select from webhook_delivery.queue", &[]).unwrap_err());
    assert_eq!(error.code().code(), "42501", "{error}");
    let id = Submission::of_riverside().insert(&mut clerk);
    let data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert_eq!(data["id"], id.to_string());
    // The names come from tables that the clerk cannot read.
    assert_eq!((&data["location_name"], &data["submitted_by"]), (&"North Lot".into(), &"Dana Reyes".into()));
    let whoami: String = clerk.query_one("select current_user::text", &[]).unwrap().get(0);
    assert_eq!(whoami, "clerk");
}

/// Operators and functions that would run where capture calls one without naming its schema.
const TRAPS: &str = r#"
    create schema mallory authorization clerk;
    set role clerk;
    create sequence mallory.ran_as_owner;
    create function mallory.spring() returns void language plpgsql as $$
    begin
        -- A sequence does not forget on rollback.
        if current_user = 'postgres' then perform pg_catalog.nextval('mallory.ran_as_owner'); end if;
    end $$;
    create function mallory.same(uuid, uuid) returns boolean language plpgsql as
        $$ begin perform mallory.spring(); return $1::text operator(pg_catalog.=) $2::text; end $$;
    create operator mallory.= (leftarg = uuid, rightarg = uuid, procedure = mallory.same);
    create function mallory.same(text, text) returns boolean language plpgsql as
        $$ begin perform mallory.spring(); return $1 operator(pg_catalog.~~) $2; end $$;
    create operator mallory.= (leftarg = text, rightarg = text, procedure = mallory.same);
    create function mallory.overlap(text[], text[]) returns boolean language plpgsql as
        $$ begin perform mallory.spring(); return true; end $$;
    create operator mallory.&& (leftarg = text[], rightarg = text[], procedure = mallory.overlap);
    create function mallory.any_of(uuid, uuid[]) returns boolean language plpgsql as
        $$ begin perform mallory.spring(); return true; end $$;
    create operator mallory.@> (leftarg = uuid, rightarg = uuid[], procedure = mallory.any_of);
    create function mallory.now() returns timestamptz language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.now(); end $$;
    create function mallory.clock_timestamp() returns timestamptz language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.clock_timestamp(); end $$;
    create function mallory.split_part(text, text, integer) returns text language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.split_part($1, $2, $3); end $$;
    create function mallory.unnest(uuid[]) returns setof uuid language plpgsql as
        $$ begin perform mallory.spring(); return query select pg_catalog.unnest($1); end $$;
    create function mallory.sum(integer) returns bigint language plpgsql as
        $$ begin perform mallory.spring(); return $1; end $$;
    create function mallory.length(text) returns integer language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.length($1); end $$;
    create function mallory.right(text, integer) returns text language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.right($1, $2); end $$;
    create function mallory.to_char(timestamp, text) returns text language plpgsql as
        $$ begin perform mallory.spring(); return pg_catalog.to_char($1, $2); end $$;
    reset role;
"#;

#[test]
fn functions_in_a_users_search_path_do_not_run_as_owner() {
    let (mut application, receiver, riversides) = riverside(&[]);
    let endpoint_id = riversides.id;
    application.client.batch_execute(CLERK).unwrap();
    application.client.batch_execute("grant temporary on database postgres to clerk").unwrap();
    application.client.batch_execute(TRAPS).unwrap();
    application.client.batch_execute("select webhook_delivery.grant_api('clerk')").unwrap();
    application
        .client
        .batch_execute("insert into public.users values (gen_random_uuid(), 'clerk', 'clerk@example.com')")
        .unwrap();
    let mut clerk = application.cluster.connect_as("clerk", "postgres");
    clerk
        .batch_execute("set search_path = mallory, pg_catalog, public; create temporary table submissions (like public.submissions)")
        .unwrap();
    Submission::of_riverside().insert(&mut clerk);
    clerk.batch_execute("begin; set constraints all immediate").unwrap();
    Submission::of_riverside().insert_without_transaction(&mut clerk).unwrap();
    clerk.batch_execute("update public.submissions set image_url = 'https://img.example.com/x.jpg'; commit").unwrap();
    // The refused insert also runs the checks of its row.
    let endpoint =
        "insert into public.webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')";
    clerk.execute(endpoint, &[&sample::RIVERSIDE]).unwrap_err();
    clerk.query("select * from public.webhook_deliveries", &[]).unwrap();
    application.client.batch_execute("create function public.all_auctions() returns setof uuid language sql security definer as 'select id from public.auctions'; alter role clerk set webhook_delivery.access_function = 'public.all_auctions'").unwrap();
    let mut admin = application.cluster.connect_as("clerk", "postgres");
    admin.batch_execute("set search_path = mallory, pg_catalog, public").unwrap();
    for test in
        ["public.test_webhook($1, 'submission.created')", "webhook_delivery.queue_test($1, 'submission.created')"]
    {
        admin.execute(&format!("select {test}"), &[&endpoint_id]).unwrap();
    }
    application.wait_for_deliveries(5, "success");
    assert_eq!(receiver.count(), 5);
    let sprung = |application: &mut Application| {
        application.count("select is_called::integer::bigint from mallory.ran_as_owner")
    };
    assert_eq!(sprung(&mut application), 0);
    // The traps work: with this search path the owner runs one.
    application.client.batch_execute("set search_path = mallory, pg_catalog; select now(); reset search_path").unwrap();
    assert_eq!(sprung(&mut application), 1);
}

#[test]
fn payload_that_cannot_be_built_does_not_fail_the_change() {
    let (mut application, receiver, _) = riverside(&[]);
    // This session caches its plan before the column is renamed. The new session below has no plan.
    let before = Submission::of_riverside().insert(&mut application.client);
    application.client.batch_execute("alter table public.users rename full_name to fullname").unwrap();

    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let mut config = application.cluster.config();
    config.notice_callback(move |notice| heard.lock().unwrap().push(notice));
    let mut user = config.connect(NoTls).unwrap();
    let id = Submission::of_riverside().insert(&mut user);
    assert_eq!(application.count("select count(*) from public.submissions"), 2);
    let old_session = Submission::of_riverside().insert(&mut application.client);

    let errors = capture_errors(&mut application);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(
        (errors[0].row_ids.as_slice(), errors[1].row_ids.as_slice()),
        ([id].as_slice(), [old_session].as_slice())
    );
    for error in errors {
        assert_eq!((error.event_type.as_str(), error.code.as_str()), ("submission.created", "42703"));
        assert_eq!(error.message, "column submitter.full_name does not exist");
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("\"submitter.fullname\""), "{hint}");
    }
    let warnings = warnings.lock().unwrap();
    let [warning] = warnings.as_slice() else { panic!("expected one warning, got {warnings:?}") };
    assert_eq!(warning.code().code(), "42703");
    assert!(warning.message().contains("submission.created was not sent: column submitter.full_name"), "{warning}");
    assert!(warning.detail().is_some_and(|detail| detail.contains(&id.to_string())), "{warning:?}");
    let hint = warning.hint().unwrap_or_default();
    assert!(hint.contains("Your change is saved") && hint.contains("capture_errors"), "{hint}");

    application.client.batch_execute("alter table public.users rename fullname to full_name").unwrap();
    let mut expected = [before, Submission::of_riverside().insert(&mut user)];
    expected.sort();
    assert_eq!(arrived(&mut application, &receiver), expected);
}

#[test]
fn rows_that_fail_to_build_do_not_affect_the_others() {
    let (mut application, receiver, _) = riverside(&[]);
    let divides_by_zero = "alter table public.locations rename to lots;
        create view public.locations as
            select id, auction_id, case when name = 'South Lot' then (1 / (length(name) - 9))::text else name end as name from public.lots";
    application.client.batch_execute(divides_by_zero).unwrap();
    let mut transaction = application.client.transaction().unwrap();
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for number in 0..100 {
        if number % 30 == 7 {
            let of_south_lot = Submission { location_id: Some(sample::SOUTH_LOT), ..Submission::of_riverside() };
            bad.push(of_south_lot.insert(&mut transaction));
        } else {
            good.push(Submission::of_riverside().insert(&mut transaction));
        }
    }
    transaction.commit().unwrap();
    good.sort();
    bad.sort();
    assert_eq!(arrived(&mut application, &receiver), good);
    let errors = capture_errors(&mut application);
    assert!(errors.iter().all(|error| error.code == "22012"), "{errors:?}");
    let mut failed: Vec<Uuid> = errors.into_iter().flat_map(|error| error.row_ids).collect();
    failed.sort();
    assert_eq!(failed, bad);
}

#[test]
fn mass_build_failures_lose_no_event_of_the_other_rows() {
    let (mut application, receiver, _) = riverside(&[]);
    let table = "create type mood as enum ('good', 'bad');
        create function mood_to_json(mood) returns json language plpgsql as
            $$ begin if $1 = 'bad' then raise exception 'bad %', repeat('x', 1000000); end if; return '1'; end $$;
        create cast (mood as json) with function mood_to_json(mood);
        create table moods (id uuid primary key default gen_random_uuid(), auction_id uuid, mood mood);
        select webhook_delivery.register_event_type('mood.noted', 'A mood', 'true', '{}');
        create trigger noted after insert on moods for each row execute function webhook_delivery.row_event('mood.noted', 'auction_id')";
    application.client.batch_execute(table).unwrap();
    // More failing rows than capture searches for one by one.
    let insert = "insert into moods (auction_id, mood)
        select $1, (case when n < 1100 and n % 2 = 0 or n = 2000 then 'bad' else 'good' end)::mood from generate_series(1, 2010) as n";
    application.client.execute(insert, &[&sample::RIVERSIDE]).unwrap();
    application.settle();
    let bad = "select sum((select count(*) from unnest(data) as kept where kept is null))::bigint from webhook_delivery.capture_errors";
    assert_eq!(application.count(bad), 550, "only the data of failing rows is missing");
    let longest =
        "select max(greatest(length(error_message), length(context)))::bigint from webhook_delivery.capture_errors";
    assert!(application.count(longest) < 9000);
    let sent = receiver.count() as i64;
    let kept = "select sum((select count(*) from unnest(data) as kept where kept is not null))::bigint from webhook_delivery.capture_errors";
    assert_eq!(sent + application.count(kept), 2010 - 550);
}

#[test]
fn on_capture_error_set_to_error_aborts_the_transaction() {
    let (mut application, receiver, _) = riverside(&[("webhook_delivery.on_capture_error", "error")]);
    application.client.batch_execute("alter table public.users rename full_name to fullname").unwrap();
    let error = server_error(Submission::of_riverside().try_insert(&mut application.client).unwrap_err());
    assert_eq!(error.code().code(), "42703", "{error}");
    assert_eq!(application.count("select count(*) from public.submissions"), 0);
    assert_eq!(capture_errors(&mut application).len(), 0);
    // The session continues as the same user, and its next transaction is captured.
    application.client.batch_execute("alter table public.users rename fullname to full_name").unwrap();
    let id = Submission::of_riverside().insert(&mut application.client);
    assert_eq!(arrived(&mut application, &receiver), [id]);
}

#[test]
fn error_at_commit_leaves_the_sessions_role_and_settings() {
    let (mut application, _receiver, _) = riverside(&[("webhook_delivery.on_capture_error", "error")]);
    application.client.batch_execute(CLERK).unwrap();
    application.client.batch_execute("alter table public.users rename full_name to fullname").unwrap();
    let mut clerk = application.cluster.connect_as("clerk", "postgres");
    clerk.batch_execute("set search_path = public, pg_catalog").unwrap();
    let error = server_error(Submission::of_riverside().try_insert(&mut clerk).unwrap_err());
    assert_eq!(error.code().code(), "42703", "{error}");
    let row = clerk.query_one("select current_user::text, current_setting('search_path')", &[]).unwrap();
    assert_eq!((row.get(0), row.get(1)), ("clerk", "public, pg_catalog"));
    let error = server_error(clerk.query("select from webhook_delivery.endpoint_secrets", &[]).unwrap_err());
    assert_eq!(error.code().code(), "42501", "{error}");
}

#[test]
fn user_cannot_turn_off_capture() {
    let (mut application, receiver, _) = riverside(&[]);
    application.client.batch_execute(CLERK).unwrap();
    let mut clerk = application.cluster.connect_as("clerk", "postgres");
    for setting in [
        "webhook_delivery.on_capture_error = 'error'",
        "webhook_delivery.access_function = 'now'",
        "session_replication_role = replica",
    ] {
        let error = server_error(clerk.batch_execute(&format!("set {setting}")).unwrap_err());
        assert_eq!(error.code().code(), "42501", "{setting}: {error}");
    }
    let id = Submission::of_riverside().insert(&mut clerk);
    assert_eq!(arrived(&mut application, &receiver), [id]);
}

/// A dead letter that cannot be recaptured fails neither the statement nor the other dead letters.
#[test]
fn each_dead_letter_is_recaptured_independently() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let client = &mut application.client;
    let rename = |from: &str, to: &str| format!("alter table public.users rename {from} to {to}");
    client.batch_execute(&rename("full_name", "fullname")).unwrap();
    let ids = [(); 3].map(|()| Submission::of_riverside().insert(client));
    client.batch_execute(&rename("fullname", "full_name")).unwrap();
    // The first dead letter has no row ids. The second belongs to a table that cannot be read.
    client
        .batch_execute(
            "update webhook_delivery.capture_errors set row_ids = '{}' where id = 1;
             update webhook_delivery.capture_errors set event_type = 'member.joined' where id = 2;
             alter table public.auction_members rename user_id to person_id;
             set webhook_delivery.on_capture_error = error",
        )
        .unwrap();
    let again = "select id, webhook_delivery.recapture(id) from webhook_delivery.capture_errors order by id";
    let rows = client.query(again, &[]).unwrap();
    let written: Vec<(i64, Option<i64>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(written, [(1, None), (2, Some(0)), (3, Some(1))]);
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].json()["data"]["id"], ids[2].to_string());
    // A dead letter that fails again keeps its id and gets the new error.
    let left = client.query("select id, error_message from webhook_delivery.capture_errors order by id", &[]).unwrap();
    let left: Vec<(i64, String)> = left.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].0 == 1 && left[0].1.contains("full_name"), "{left:?}");
    assert!(left[1].0 == 2 && left[1].1.contains("user_id"), "{left:?}");
}
