//! Capture runs code of the application's tables (views, casts, functions) as the tables' owner.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Receiver, Reply, Submission, sample, server_error};

/// Gives the application's tables to a role without other privileges. Its function `pwn` tries to
/// gain every privilege.
const OWNER: &str = r#"
    create role app login;
    grant create, usage on schema public to app;
    do $$
    declare watched record;
    begin
        for watched in select tablename from pg_tables where schemaname = 'public' and tablename not like 'webhook%' loop
            execute format('alter table public.%I owner to app', watched.tablename);
        end loop;
    end $$;
    set role app;
    create function public.try_to(statement text) returns void language plpgsql as
        $$ begin execute statement; exception when others then null; end $$;
    -- Tries to become superuser, and tells as whom it ran.
    create function public.pwn() returns text language plpgsql as $$
    begin
        perform public.try_to('alter role app superuser');
        perform public.try_to('reset role');
        perform public.try_to('set role postgres');
        perform public.try_to('set session authorization default');
        perform public.try_to('set transaction read write');
        perform public.try_to('create temporary table submissions (id uuid)');
        perform public.try_to('alter role app superuser');
        return current_user || case when (select rolsuper from pg_roles where rolname = current_user) then ' with every right' else '' end;
    end $$;
    reset role;
"#;

/// An application whose tables belong to `app`, with an endpoint for all of Riverside's events.
fn owned_by_app() -> (Application, Receiver) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    application.client.batch_execute(OWNER).unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
    (application, receiver)
}

#[track_caller]
fn as_app(application: &Application, sql: &str) -> Client {
    let mut client = application.cluster.connect_as("app", "postgres");
    client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    client
}

/// Inserts a submission as superuser and one as the tables' owner, and returns the data of both
/// events. In both cases the code of the tables runs as their owner.
#[track_caller]
fn data_of_submissions(application: &mut Application, receiver: &Receiver) -> Vec<serde_json::Value> {
    let mut app = application.cluster.connect_as("app", "postgres");
    Submission::of_riverside().insert(&mut application.client);
    Submission::of_riverside().insert(&mut app);
    let data = receiver.wait_for(2, DEADLINE).iter().map(|request| request.json()["data"].take()).collect();
    assert_not_superuser(application);
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
    data
}

#[track_caller]
fn assert_not_superuser(application: &mut Application) {
    assert_eq!(application.count("select count(*) from pg_roles where rolname = 'app' and rolsuper"), 0);
}

#[test]
fn view_in_place_of_a_table_runs_its_functions_as_the_owner() {
    let (mut application, receiver) = owned_by_app();
    as_app(
        &application,
        "alter table public.users rename to people;
         create view public.users as select id, public.pwn() as full_name from public.people",
    );
    for data in data_of_submissions(&mut application, &receiver) {
        assert_eq!(data["submitted_by"], "app", "{data}");
    }
}

#[test]
fn view_in_place_of_the_watched_table_is_read_as_its_owner() {
    let (mut application, receiver) = owned_by_app();
    as_app(
        &application,
        "alter table public.submissions rename to counts;
         create view public.submissions as
             select id, auction_id, location_id, user_id, image_url,
                 timestamptz '2001-01-01 00:00Z' + length(public.pwn()) * interval '1 day' as submitted_at
             from public.counts",
    );
    // The rows are inserted through the updatable view. The trigger is still on the table.
    for data in data_of_submissions(&mut application, &receiver) {
        assert_eq!(data["submitted_at"], "2001-01-04T00:00:00.000Z", "{data}");
    }
}

#[test]
fn cast_of_the_application_runs_as_the_tables_owner() {
    let (mut application, receiver) = owned_by_app();
    as_app(
        &application,
        "create type public.label as enum ('North Lot', 'South Lot', 'Main Lot');
         create function public.label_to_json(public.label) returns json language sql as $$ select to_json(public.pwn()) $$;
         create cast (public.label as json) with function public.label_to_json(public.label);
         alter table public.locations alter column name type public.label using name::public.label",
    );
    for data in data_of_submissions(&mut application, &receiver) {
        assert_eq!(data["location_name"], "app", "{data}");
    }
}

#[test]
fn column_default_runs_only_as_the_inserting_role() {
    let (mut application, receiver) = owned_by_app();
    let mut app = as_app(
        &application,
        "alter table public.submissions add column noted text default public.pwn();
         alter table public.users alter column full_name set default public.pwn()",
    );
    Submission::of_riverside().insert(&mut app);
    receiver.wait_for(1, DEADLINE);
    assert_not_superuser(&mut application);
    assert_eq!(application.count("select count(*) from public.submissions where noted = 'app'"), 1);
}

#[test]
fn operators_in_public_and_temporary_tables_are_not_used() {
    let (mut application, receiver) = owned_by_app();
    application.client.batch_execute("grant temporary on database postgres to app").unwrap();
    let mut app = as_app(
        &application,
        "create function public.same(uuid, uuid) returns boolean language sql as $$ select public.pwn() is null $$;
         create operator public.= (leftarg = uuid, rightarg = uuid, procedure = public.same);
         create function public.to_char(timestamp, text) returns text language sql as $$ select public.pwn() $$;
         create function public.json_agg(json) returns json language sql as $$ select to_json(public.pwn()) $$;
         create temporary table submissions (like public.submissions);
         create temporary table users (id uuid, full_name text default public.pwn());
         insert into pg_temp.users values ('00000000-0000-4000-8000-0000000000a1', 'not Dana');
         set search_path = pg_temp, public, pg_catalog",
    );
    Submission::of_riverside().insert(&mut app);
    let data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert_eq!((&data["submitted_by"], &data["total_car_count"]), (&"Dana Reyes".into(), &59.into()), "{data}");
    assert_not_superuser(&mut application);
}

#[test]
fn row_level_security_that_hides_rows_leaves_a_dead_letter() {
    let (mut application, receiver) = owned_by_app();
    let policy = "alter table public.users enable row level security;
        create policy mine on public.users using (public.pwn() is null)";
    let mut app = as_app(&application, policy);
    // The policy does not apply to the table's owner.
    Submission::of_riverside().insert(&mut app);
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].json()["data"]["submitted_by"], "Dana Reyes");
    app.batch_execute("alter table public.users force row level security").unwrap();
    Submission::of_riverside().insert(&mut app);
    let report = "select concat_ws(' ', result, detail) from webhook_delivery.install_triggers() where table_name = 'users' and detail like '%public.submissions%'";
    let row = application.client.query_one(report, &[]).unwrap();
    assert_eq!(
        row.get::<_, &str>(0),
        "unreadable public.users: row-level security would hide rows of it from app, the owner of public.submissions."
    );
    let query = "select id, error_code, error_message from webhook_delivery.capture_errors";
    let row = application.client.query_one(query, &[]).unwrap();
    assert_eq!(row.get::<_, &str>(1), "42501");
    assert!(row.get::<_, &str>(2).contains("row-level security"), "{row:?}");
    app.batch_execute("alter table public.users no force row level security").unwrap();
    application.client.execute("select webhook_delivery.recapture($1)", &[&row.get::<_, i64>(0)]).unwrap();
    receiver.wait_for(2, DEADLINE);
    assert_not_superuser(&mut application);
}

#[test]
fn unreadable_table_is_reported_and_its_event_recaptured() {
    let (mut application, receiver) = owned_by_app();
    application.client.batch_execute("alter table public.users owner to postgres").unwrap();
    let report = "select concat_ws(' ', result, detail) from webhook_delivery.install_triggers() where table_name = 'users' and detail like '%public.submissions%'";
    let row = application.client.query_one(report, &[]).unwrap();
    assert_eq!(
        row.get::<_, &str>(0),
        "unreadable public.users: app, the owner of public.submissions, may not read it."
    );
    Submission::of_riverside().insert(&mut application.client);
    let error: i64 = application
        .client
        .query_one("select id from webhook_delivery.capture_errors where error_code = '42501'", &[])
        .unwrap()
        .get(0);
    application.client.batch_execute("grant select on public.users to app").unwrap();
    application.client.execute("select webhook_delivery.recapture($1)", &[&error]).unwrap();
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].json()["data"]["submitted_by"], "Dana Reyes");
}

#[test]
fn code_in_a_view_can_neither_write_nor_change_settings() {
    let (mut application, receiver) = owned_by_app();
    let mut app = as_app(
        &application,
        "create table public.trace (seen text);
         create function public.leave_traces() returns text language plpgsql as $$
         begin
             perform public.try_to('insert into public.trace values (current_user)');
             perform set_config('search_path', 'public', false);
             perform set_config('plan_cache_mode', 'auto', false);
             perform set_config('work_mem', '64kB', false);
             return 'somebody';
         end $$;
         alter table public.users rename to people;
         create view public.users as select id, public.leave_traces() as full_name from public.people;
         set search_path = pg_catalog",
    );
    Submission::of_riverside().insert(&mut app);
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].json()["data"]["submitted_by"], "somebody");
    assert_eq!(application.count("select count(*) from public.trace"), 0);
    let settings =
        app.query_one("select current_setting('search_path'), current_setting('work_mem'), current_user::text", &[]);
    let settings = settings.unwrap();
    assert_eq!((settings.get(0), settings.get(1), settings.get(2)), ("pg_catalog", "4MB", "app"));
}

#[test]
fn error_in_application_code_is_recorded_with_its_context() {
    let (mut application, _receiver) = owned_by_app();
    let failing_function = |raise: &str| {
        format!(
            "create or replace function public.fail() returns text language plpgsql as $$ begin {raise}; return null; end $$"
        )
    };
    let mut app = as_app(&application, &failing_function("null"));
    app.batch_execute(
        "alter table public.users rename to people;
         create view public.users as select id, public.fail() as full_name from public.people",
    )
    .unwrap();
    let failing = [
        ("raise exception using errcode = 'AP001', message = 'no', detail = 'not today', hint = 'tomorrow'", "AP001"),
        ("raise exception using errcode = 'query_canceled', message = 'no'", "57014"),
        ("assert false, 'no'", "P0004"),
        ("perform 1 / 0", "22012"),
        ("perform public.fail()", "54001"),
    ];
    for (raise, code) in failing {
        app.batch_execute(&failing_function(raise)).unwrap();
        let id: Uuid = Submission::of_riverside().insert(&mut app);
        let query = "select error_code, context, detail, hint from webhook_delivery.capture_errors where row_ids = array[$1::uuid]";
        let row = application.client.query_one(query, &[&id]).unwrap();
        assert_eq!(row.get::<_, &str>(0), code, "{raise}");
        let context: &str = row.get(1);
        assert!(context.contains("public.fail()") || context.contains("fail()"), "{raise}: {context}");
        if code == "AP001" {
            assert_eq!((row.get(2), row.get(3)), ("not today", "tomorrow"));
        }
    }
    // The session has gained no privilege.
    let error = server_error(app.batch_execute("alter role app superuser").unwrap_err());
    assert_eq!(error.code().code(), "42501");
}
