//! Installing and dropping the extension: where its objects go and what it reports as missing.

use postgres::Client;
use webhook_harness::application::{install, install_tables};
use webhook_harness::{Application, Cluster, DEADLINE, Endpoint, Receiver, Reply, Submission, refusal, sample};

const CREATE: &str = "create extension webhook_delivery";

/// A server with the extension in its database `postgres`, and a session there.
fn with_extension() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(CREATE).unwrap();
    (cluster, client)
}

/// The rows of a query that returns one text column.
#[track_caller]
fn list(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).unwrap_or_else(|e| panic!("{query}\nfailed: {:?}", e.as_db_error()));
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn create_extension_without_preload_names_the_missing_line() {
    let cluster = Cluster::builder().without_preload().start();
    let error = refusal(&mut cluster.connect(), CREATE, &[]);
    assert_eq!(error.code().code(), "55000");
    assert_eq!(error.message(), "webhook_delivery must be loaded when the server starts");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("shared_preload_libraries = 'webhook_delivery'"), "{hint}");
    assert!(hint.contains(&*cluster.data_dir().join("postgresql.conf").to_string_lossy()), "{hint}");
    assert!(hint.contains("restart the server"), "{hint}");
}

#[test]
fn postgrest_objects_are_in_public_whatever_the_schema() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute("create schema extensions; create extension webhook_delivery schema extensions").unwrap();
    install_tables(&mut client);
    let found = list(
        &mut client,
        "select relname::text from pg_class where relname like 'webhook%' and relkind in ('r', 'v') and relnamespace = 'public'::regnamespace order by 1",
    );
    assert_eq!(
        found,
        [
            "webhook_deleted_endpoints",
            "webhook_deliveries",
            "webhook_delivery_attempts",
            "webhook_endpoint_health",
            "webhook_endpoints",
            "webhook_event_types"
        ]
    );
    let elsewhere = "select relname::text from pg_class where relnamespace = 'extensions'::regnamespace
        union all select proname::text from pg_proc where pronamespace = 'extensions'::regnamespace";
    assert_eq!(list(&mut client, elsewhere), [""; 0]);

    client.batch_execute("select webhook_delivery.install_triggers()").unwrap();
    let insert =
        "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{submission.*}') returning id";
    let row = client.query_one(insert, &[&sample::RIVERSIDE, &receiver.url("/")]).unwrap();
    let endpoint: uuid::Uuid = row.get(0);
    Submission::of_riverside().insert(&mut client);
    let test = "select follow from test_webhook(endpoint_id => $1, event_type => 'submission.created')";
    let follow: String = client.query_one(test, &[&endpoint]).unwrap().get(0);
    receiver.wait_for_distinct(2, DEADLINE);
    // The statement that test_webhook() returns can be run unchanged.
    assert_eq!(client.query(&follow, &[]).unwrap_or_else(|e| panic!("{follow}\nfailed: {e:?}")).len(), 1);
}

/// The objects of the extension, with their kind and name in readable form.
const MEMBERS: &str = "create temporary view member as
    select classid, objid, known.type, known.identity
    from pg_depend cross join lateral pg_identify_object(classid, objid, 0) as known
    where deptype = 'e' and refclassid = 'pg_extension'::regclass
      and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')";

#[test]
fn every_file_names_the_same_version() {
    let (_cluster, mut client) = with_extension();
    let version: String =
        client.query_one("select extversion from pg_extension where extname = 'webhook_delivery'", &[]).unwrap().get(0);
    let meta: serde_json::Value = serde_json::from_str(include_str!("../../META.json")).unwrap();
    assert_eq!(meta["version"], version);
    assert_eq!(meta["provides"]["webhook_delivery"]["version"], version);
    let newest = include_str!("../../CHANGELOG.md").lines().find_map(|line| line.strip_prefix("## "));
    assert!(newest.is_some_and(|newest| newest.starts_with(&format!("[{version}]"))), "{newest:?}");
}

#[test]
fn every_object_and_column_has_a_comment() {
    let (_cluster, mut client) = with_extension();
    client.batch_execute(MEMBERS).unwrap();
    let kinds = list(&mut client, "select distinct type from member");
    for kind in ["function", "schema", "table", "view"] {
        assert!(kinds.iter().any(|known| known == kind), "no {kind} among {kinds:?}");
    }
    // Types and sequences need no comment: they are the row types of tables and belong to columns.
    let silent = "select type || ' ' || identity from member
        where type not in ('type', 'sequence') and obj_description(objid, classid::regclass::name) is null order by 1";
    assert_eq!(list(&mut client, silent), [""; 0], "without COMMENT ON");
    let silent_columns = "select identity || '.' || attname from member join pg_attribute on attrelid = objid
        where type in ('table', 'view') and attnum > 0 and not attisdropped and col_description(objid, attnum) is null
          and not exists (select from pg_inherits where inhrelid = objid) order by 1";
    assert_eq!(list(&mut client, silent_columns), [""; 0], "without COMMENT ON COLUMN");
    let silent_policies = "select polname::text from pg_policy where obj_description(oid, 'pg_policy') is null";
    assert_eq!(list(&mut client, silent_policies), [""; 0], "without COMMENT ON POLICY");
}

#[test]
fn every_setting_is_described_and_misspelt_ones_are_refused() {
    let (_cluster, mut client) = with_extension();
    let settings = list(&mut client, "select name from pg_settings where name like 'webhook\\_delivery.%'");
    assert!(settings.len() >= 9, "{settings:?}");
    let silent =
        "select name from pg_settings where name like 'webhook\\_delivery.%' and coalesce(short_desc, '') !~ '\\.$'";
    assert_eq!(list(&mut client, silent), [""; 0], "without a sentence that describes it");
    for statement in
        ["set webhook_delivery.retry_shedule = '1m'", "alter system set webhook_delivery.retry_shedule = '1m'"]
    {
        let error = refusal(&mut client, statement, &[]);
        assert!(error.message().contains("webhook_delivery.retry_shedule"), "{statement}: {error}");
    }
}

#[test]
fn invalid_setting_is_refused_when_it_is_entered() {
    let (cluster, mut client) = with_extension();
    for schedule in ["soon", "1m, 5", "1m,, 5m", "-1m", "5 parsecs"] {
        let error =
            refusal(&mut client, &format!("alter system set webhook_delivery.retry_schedule = '{schedule}'"), &[]);
        assert_eq!(error.code().code(), "22023", "{schedule}: {error}");
        assert!(!error.detail().unwrap_or_default().is_empty(), "{schedule}: {error:?}");
    }
    for (name, value) in
        [("on_capture_error", "ignore"), ("pool_size", "0"), ("request_timeout", "-1"), ("poll_interval", "0")]
    {
        let error = refusal(&mut client, &format!("alter system set webhook_delivery.{name} = '{value}'"), &[]);
        assert_eq!(error.code().code(), "22023", "{name}: {error}");
    }
    for schedule in ["", "90s", "20ms, 1s, 1m, 1h, 1d"] {
        cluster.set("webhook_delivery.retry_schedule", schedule);
    }
}

#[test]
fn security_definer_functions_pin_their_search_path() {
    let (_cluster, mut client) = with_extension();
    let definers = "select proc.oid::regprocedure::text from pg_proc as proc
        join pg_depend on classid = 'pg_proc'::regclass and objid = proc.oid and deptype = 'e'
        where refobjid = (select oid from pg_extension where extname = 'webhook_delivery') and prosecdef";
    assert!(list(&mut client, definers).len() >= 4);
    let unpinned = format!("{definers} and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)");
    assert_eq!(list(&mut client, &unpinned), [""; 0]);
}

const WATCHED: &[(&str, &str)] = &[
    ("auction_invitations", "webhook_delivery_member_invited_insert"),
    ("auction_invitations", "webhook_delivery_member_invited_update"),
    ("auction_members", "webhook_delivery_member_joined_insert"),
    ("auction_members", "webhook_delivery_member_removed_delete"),
    ("auction_members", "webhook_delivery_member_role_changed_update"),
    ("channels", "webhook_delivery_channel_archived_update"),
    ("channels", "webhook_delivery_channel_created_insert"),
    ("inspections", "webhook_delivery_inspection_created_insert"),
    ("inspection_defects", "webhook_delivery_inspection_defect_added_insert"),
    ("messages", "webhook_delivery_message_created_insert"),
    ("messages", "webhook_delivery_message_deleted_update"),
    ("messages", "webhook_delivery_message_edited_update"),
    ("problems", "webhook_delivery_problem_assigned_update"),
    ("problems", "webhook_delivery_problem_created_insert"),
    ("problems", "webhook_delivery_problem_status_changed_update"),
    ("problem_actions", "webhook_delivery_problem_action_completed_insert"),
    ("problem_actions", "webhook_delivery_problem_action_completed_update"),
    ("submissions", "webhook_delivery_submission_created_insert"),
    ("submissions", "webhook_delivery_submission_updated_update"),
    ("submission_entries", "webhook_delivery_submission_updated_insert"),
    ("submission_entries", "webhook_delivery_submission_updated_update"),
    ("submission_entries", "webhook_delivery_submission_updated_delete"),
];

/// Table, trigger, result and detail of each row that `install_triggers()` reports, without the
/// tables that are only read.
fn install_triggers(client: &mut Client) -> Vec<[String; 4]> {
    let query = "select table_name::text, trigger_name::text, result, coalesce(detail, '') from webhook_delivery.install_triggers() where trigger_name is not null";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| [row.get(0), row.get(1), row.get(2), row.get(3)]).collect()
}

#[test]
fn install_triggers_run_twice_changes_nothing() {
    let (_cluster, mut client) = with_extension();
    install_tables(&mut client);
    let expected = |result: &str| -> Vec<[String; 4]> {
        WATCHED.iter().map(|(table, trigger)| [table, trigger, result, ""].map(str::to_owned)).collect()
    };
    assert_eq!(install_triggers(&mut client), expected("installed"));
    let read = "select distinct table_name || ': ' || result from webhook_delivery.install_triggers() where trigger_name is null order by 1";
    let found = ["auctions", "channels", "count_types", "locations", "users"].map(|table| format!("{table}: found"));
    assert_eq!(list(&mut client, read), found);
    let triggers = "select (oid, xmin, tgrelid, tgname, tgtype, tgargs)::text from pg_trigger where tgname like 'webhook%' order by oid";
    let before = list(&mut client, triggers);
    assert_eq!(install_triggers(&mut client), expected("already installed"));
    assert_eq!(list(&mut client, triggers), before);
}

#[test]
fn install_triggers_attaches_what_it_can_and_reports_the_rest() {
    let (_cluster, mut client) = with_extension();
    install_tables(&mut client);
    client
        .batch_execute(
            "drop table public.locations cascade; alter table public.submission_entries drop position, drop image_url;
             alter table public.users rename full_name to name",
        )
        .unwrap();
    let report = "select concat_ws(' ', table_name, trigger_name, result, detail) from webhook_delivery.install_triggers() where table_name not in
        (select table_name from webhook_delivery.required_tables where source_table <> 'submissions' except select table_name from webhook_delivery.required_tables where source_table = 'submissions')
        and coalesce(detail, '') !~ 'Read for events of public.(?!submissions)'";
    let expected = [
        "submissions webhook_delivery_submission_created_insert installed",
        "submissions webhook_delivery_submission_updated_update installed",
        "count_types found Read for events of public.submissions; its own changes are not captured.",
        "locations missing Table public.locations does not exist.",
        "submission_entries unsuitable public.submission_entries: no column image_url text, position numeric.",
        "users unsuitable public.users: no column full_name text.",
    ];
    // Tables that several families read are reported once for each family.
    let reported = list(&mut client, report);
    let (families, of_submissions): (Vec<_>, Vec<_>) =
        reported.iter().partition(|line| line.starts_with("locations") || line.starts_with("users"));
    assert_eq!(families.len(), 3 + 7, "{reported:?}");
    for line in expected {
        assert!(reported.iter().any(|reported| reported == line), "{line} is not among {reported:?}");
    }
    assert_eq!(of_submissions.len(), 4, "{reported:?}");
    // install_triggers() does not fail in a database without any of the tables.
    client
        .batch_execute("drop schema public cascade; create schema public; create extension webhook_delivery")
        .unwrap();
    let missing = "select distinct table_name || ': ' || detail from webhook_delivery.install_triggers() where result = 'missing'";
    assert_eq!(list(&mut client, missing).len(), 14);
    let others = "select result from webhook_delivery.install_triggers() where result <> 'missing'";
    assert_eq!(list(&mut client, others), ["access"], "only operators see endpoints");
}

#[test]
fn install_triggers_names_columns_of_unsuitable_types() {
    let (_cluster, mut client) = with_extension();
    install_tables(&mut client);
    client
        .batch_execute(
            "create domain public.key as uuid; create type public.kind as enum ('Sedan', 'Truck', 'SUV');
             alter table public.locations alter name type varchar(80);
             alter table public.count_types alter name type public.kind using name::public.kind;
             alter table public.submissions alter auction_id type public.key, alter submitted_at type timestamp;
             alter table public.submission_entries alter car_count type bigint, drop submission_id, add submission_id text, drop position,
                 add position timestamptz;
             drop table public.users cascade; create table public.users (id bigint, full_name bytea)",
        )
        .unwrap();
    let report = "select concat_ws(' ', table_name, trigger_name, result, detail) from webhook_delivery.install_triggers()
        where result not in ('found', 'installed') and table_name in (select table_name from webhook_delivery.required_tables where source_table = 'submissions')
        and (table_name <> 'users' or detail not like '%email%') group by 1 order by 1";
    let expected = [
        "submission_entries unsuitable public.submission_entries: column submission_id is text, not uuid; column \"position\" is timestamp with time zone, not numeric.",
        "submissions unsuitable public.submissions: column submitted_at is timestamp without time zone, not timestamp with time zone.",
        "users unsuitable public.users: column id is bigint, not uuid; column full_name is bytea, not text.",
    ];
    assert_eq!(list(&mut client, report), expected);
}

#[test]
fn drop_extension_removes_triggers_and_the_application_works() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let client = &mut application.client;
    Submission::of_riverside().insert(client);
    let mut other_session = application.cluster.connect();
    Submission::of_riverside().insert(&mut other_session);
    receiver.wait_for_distinct(2, DEADLINE);
    client.batch_execute("drop extension webhook_delivery").unwrap();
    assert_eq!(list(client, "select tgname::text from pg_trigger where not tgisinternal"), [""; 0]);
    for session in [&mut *client, &mut other_session] {
        Submission::of_riverside().insert(session);
        session.batch_execute("update public.submission_entries set car_count = car_count + 1").unwrap();
    }
    // After a new installation the changes of the same sessions are captured again.
    client.batch_execute("create extension webhook_delivery; select webhook_delivery.install_triggers()").unwrap();
    application.endpoint(sample::RIVERSIDE, &receiver.url("/again"), &["*"]);
    for session in [&mut application.client, &mut other_session] {
        Submission::of_riverside().insert(session);
    }
    application.wait_for_deliveries(2, "success");
    assert_eq!(receiver.requests_to("/again").len(), 2);
}

#[test]
fn change_and_drop_extension_in_one_transaction_commit() {
    let mut application = Application::start(&[]);
    let client = &mut application.client;
    Endpoint::create(client, "https://example.com/");
    client.batch_execute("begin").unwrap();
    Submission::of_riverside().insert_without_transaction(client).unwrap();
    client.batch_execute("drop extension webhook_delivery; commit").unwrap();
    assert_eq!(application.count("select count(*) from public.submissions"), 1);
}

#[test]
fn each_database_delivers_its_own_events() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::start(&[("webhook_delivery.databases", "postgres, second")]);
    cluster.execute("create database second");
    let mut sessions = ["postgres", "second"].map(|database| cluster.connect_to(database));
    for (session, path) in sessions.iter_mut().zip(["/first", "/second"]) {
        install(session);
        webhook_harness::application::endpoint(session, sample::RIVERSIDE, &receiver.url(path), &["*"]);
    }
    for session in &mut sessions {
        Submission::of_riverside().insert(session);
    }
    receiver.wait_for_distinct(2, DEADLINE);
    assert_eq!((receiver.requests_to("/first").len(), receiver.requests_to("/second").len()), (1, 1));
}
