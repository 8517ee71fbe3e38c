//! The user's session after a commit with events: no cursor, setting or warning of capture remains,
//! and transactions can be prepared.

use std::sync::{Arc, Mutex};

use postgres::{Client, NoTls};
use serde_json::json;
use webhook_harness::{Application, Cluster, Listener, Receiver, Reply, refusal, sample};

/// A function that leaves a cursor open, and a view of the application that calls it for each row.
const LEAVES_A_CURSOR: &str = "
    create table private_ (s text); insert into private_ values ('secret');
    create function nm(t text) returns text language plpgsql stable as
        $$ declare c refcursor; begin open c for select s from public.private_; return t; end $$;
    alter table users rename to people;
    create view users as select id, nm(full_name) as full_name, email from people;";

/// A role that may only insert submissions.
const CLERK: &str =
    "create role clerk login; grant usage on schema public to clerk; grant insert on submissions to clerk";

fn insert() -> String {
    format!("insert into submissions (auction_id, user_id) values ('{}', '{}')", sample::RIVERSIDE, sample::DANA)
}

/// A session that collects the server's notices.
fn session_with_notices(cluster: &Cluster, role: &str) -> (Client, Arc<Mutex<Vec<postgres::error::DbError>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notices);
    let mut config = cluster.config();
    config.user(role).notice_callback(move |notice| kept.lock().unwrap().push(notice));
    (config.connect(NoTls).unwrap(), notices)
}

/// Asserts that no cursor is left, the next transaction commits, and no notice arrived.
#[track_caller]
fn assert_undisturbed(session: &mut Client, notices: &Mutex<Vec<postgres::error::DbError>>) {
    let error = refusal(session, "fetch all from \"<unnamed portal 1>\"", &[]);
    assert_eq!((error.code().code(), error.message()), ("34000", "cursor \"<unnamed portal 1>\" does not exist"));
    session.batch_execute("begin; select 1; commit").unwrap();
    let cursors: i64 = session.query_one("select count(*) from pg_cursors where name ~ 'unnamed'", &[]).unwrap().get(0);
    assert_eq!(cursors, 0);
    let notices = notices.lock().unwrap();
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn cursor_left_open_by_a_view_is_closed_before_the_commit() {
    let mut listener = Listener::start(&[]);
    listener.run(LEAVES_A_CURSOR);
    listener.run(CLERK);
    let (mut clerk, notices) = session_with_notices(&listener.application.cluster, "clerk");
    for _ in 0..2 {
        clerk.batch_execute(&insert()).unwrap();
        assert_undisturbed(&mut clerk, &notices);
    }
    // Several rows in a transaction that has its own cursor.
    clerk
        .batch_execute(&format!("begin; declare mine cursor with hold for select 1; {0}; {0}; commit", insert()))
        .unwrap();
    assert_undisturbed(&mut clerk, &notices);
    let mine: i32 = clerk.query_one("fetch mine", &[]).unwrap().get(0);
    assert_eq!((mine, listener.received().len()), (1, 4));
}

#[test]
fn cursor_left_open_is_closed_before_the_commit_of_a_procedure() {
    let mut listener = Listener::start(&[]);
    listener.run(LEAVES_A_CURSOR);
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    let twice = format!("begin for n in 1..2 loop {}; commit; end loop; {0}; end", insert());
    session.batch_execute(&format!("do $$ {twice} $$")).unwrap();
    assert_undisturbed(&mut session, &notices);
    session.batch_execute(&format!("create procedure twice() language plpgsql as $$ {twice} $$")).unwrap();
    session.batch_execute("call twice()").unwrap();
    assert_undisturbed(&mut session, &notices);
    assert_eq!(listener.received().len(), 6);
}

#[test]
fn cursor_left_open_by_a_payload_function_or_cast_is_closed() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table private_ (s text); insert into private_ values ('secret');
         create function payload(ids uuid[]) returns table (id uuid, auction_id uuid, data json) language plpgsql as $$
         declare c refcursor;
         begin
             open c for select s from public.private_;
             return query select s.id, s.auction_id, json_build_object('id', s.id) from public.submissions as s where s.id = any (ids);
         end $$;
         select webhook_delivery.set_payload_function('submission.created', 'payload(uuid[])');
         create type label as enum ('a');
         create function label_to_json(label) returns json language plpgsql as
             $$ declare c refcursor; begin open c for select s from public.private_; return '\"seen\"'; end $$;
         create cast (label as json) with function label_to_json(label);
         create table sales (id uuid primary key default gen_random_uuid(), auction_id uuid, label label);
         select webhook_delivery.register_event_type('sale.closed', 'A sale', 'true', '{}');
         create trigger closed after insert on sales
             for each row execute function webhook_delivery.row_event('sale.closed', 'auction_id', 'id', 'auction_id')",
    );
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    session.batch_execute(&insert()).unwrap();
    assert_undisturbed(&mut session, &notices);
    session.execute("insert into sales (auction_id, label) values ($1, 'a')", &[&sample::RIVERSIDE]).unwrap();
    assert_undisturbed(&mut session, &notices);
    listener.application.settle();
    let requests = listener.receiver.requests();
    let sale = requests.iter().find(|request| request.event() == Some("sale.closed")).unwrap();
    assert_eq!(sale.json()["data"], json!({ "label": "seen" }));
    // The same holds if the event cannot be written.
    listener
        .run("alter table webhook_delivery.events add constraint closed check (event_type <> 'sale.closed') not valid");
    session.execute("insert into sales (auction_id, label) values ($1, 'a')", &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(notices.lock().unwrap().drain(..).count(), 1);
    assert_undisturbed(&mut session, &notices);
}

#[test]
fn failed_payload_with_a_cursor_aborts_only_where_configured() {
    let mut listener = Listener::start(&[("webhook_delivery.on_capture_error", "error")]);
    listener.run(LEAVES_A_CURSOR);
    listener.run(CLERK);
    let (mut clerk, notices) = session_with_notices(&listener.application.cluster, "clerk");
    clerk.batch_execute(&insert()).unwrap();
    assert_undisturbed(&mut clerk, &notices);
    listener.run(
        "create or replace function nm(t text) returns text language plpgsql stable as
            $$ declare c refcursor; begin open c for select s from public.private_; raise 'no' using errcode = 'AE001'; end $$",
    );
    assert_eq!(refusal(&mut clerk, &insert(), &[]).message(), "no");
    assert_undisturbed(&mut clerk, &notices);
    assert_eq!(listener.application.count("select count(*) from submissions"), 1);
}

/// Side effects of application code are undone before the commit or PREPARE TRANSACTION.
#[test]
fn side_effects_of_a_view_do_not_reach_the_transaction() {
    let mut listener = Listener::start(&[("max_prepared_transactions", "10")]);
    listener.run(
        "create function busy(t text) returns text language plpgsql volatile as $$
         declare c refcursor;
         begin
             open c for select 1;
             perform pg_notify('channel', 'payload'), set_config('search_path', 'elsewhere', false), set_config('work_mem', '64kB', false);
             perform pg_advisory_xact_lock(4711), pg_sleep(0);
             if to_regclass('pg_temp.scratch') is not null then
                 execute 'insert into pg_temp.scratch values (1)';
             end if;
             return t;
         end $$;
         alter table users rename to people;
         create view users as select id, busy(full_name) as full_name, email from people",
    );
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    session.batch_execute("listen channel").unwrap();
    for end in [&["prepare transaction 'p'", "commit prepared 'p'"][..], &["commit"]] {
        session.batch_execute(&format!("begin; {}", insert())).unwrap();
        for statement in end {
            session.batch_execute(statement).unwrap_or_else(|e| panic!("{statement}: {:?}", e.as_db_error()));
        }
        assert_undisturbed(&mut session, &notices);
        let left = "select current_setting('search_path'), current_setting('work_mem'),
            (select count(*) from pg_locks where locktype = 'advisory')";
        let left = session.query_one(left, &[]).unwrap();
        assert_eq!((left.get(0), left.get(1), left.get(2)), ("\"$user\", public", "4MB", 0_i64));
    }
    // A temporary table that the view writes to stays empty and does not prevent PREPARE
    // TRANSACTION.
    session.batch_execute("create temporary table scratch (n integer) on commit preserve rows").unwrap();
    session.batch_execute(&format!("begin; {}", insert())).unwrap();
    session.batch_execute("prepare transaction 'p'").unwrap();
    session.batch_execute("commit prepared 'p'").unwrap();
    assert_eq!(session.query_one("select count(*) from scratch", &[]).unwrap().get::<_, i64>(0), 0);
    assert_undisturbed(&mut session, &notices);
    let heard = postgres::fallible_iterator::FallibleIterator::count(session.notifications().iter()).unwrap();
    assert_eq!((heard, listener.received().len()), (0, 3));
}

/// Statements that a security-restricted operation forbids cost the event, not the transaction.
#[test]
fn forbidden_statement_of_a_view_makes_a_dead_letter() {
    let mut listener = Listener::start(&[]);
    listener.run(LEAVES_A_CURSOR);
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    let statements = [
        "execute 'declare held cursor with hold for select 1'",
        "create temporary table scratch ()",
        "execute 'prepare mine as select 1'",
        "execute 'listen channel'",
        "insert into public.private_ values ('written')",
        "commit",
    ];
    for statement in statements {
        listener.run(&format!(
            "create or replace function nm(t text) returns text language plpgsql as $$ begin {statement}; return t; end $$"
        ));
        session.batch_execute(&insert()).unwrap_or_else(|e| panic!("{statement}: {:?}", e.as_db_error()));
        assert_eq!(notices.lock().unwrap().drain(..).count(), 1, "{statement}");
        assert_undisturbed(&mut session, &notices);
        let left = "select (select count(*) from pg_prepared_statements where name = 'mine'), (select count(*) from pg_listening_channels())";
        let left = session.query_one(left, &[]).unwrap();
        assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (0, 0), "{statement}");
    }
    let errors = "select count(*) from webhook_delivery.capture_errors";
    assert_eq!(listener.application.count(errors), statements.len() as i64);
    assert_eq!(listener.application.count("select count(*) from submissions"), statements.len() as i64);
}

/// An application whose events fail with the given message.
fn failing_with(message: &str, settings: &[(&str, &str)]) -> Application {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(settings);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let fail = format!(
        "create function \"größe €\"(t text) returns text language plpgsql as
            $$ begin raise exception '{message}' using detail = 'détail €', hint = 'Hinweis €'; return t; end $$;
         alter table users rename to people;
         create view users as select id, \"größe €\"(full_name) as full_name, email from people"
    );
    application.client.batch_execute(&fail).unwrap();
    application
}

#[test]
fn warning_that_the_client_cannot_decode_costs_no_commit() {
    let mut application = failing_with("der Preis in €, Žluťoučký 日本", &[]);
    for encoding in ["LATIN1", "WIN1250", "SQL_ASCII", "EUC_JP", "UTF8"] {
        let (mut session, notices) = session_with_notices(&application.cluster, "postgres");
        // The driver assumes UTF-8, so this sets the encoding in the server.
        session.batch_execute(&format!("set client_encoding = '{encoding}'")).unwrap();
        session.batch_execute(&insert()).unwrap_or_else(|e| panic!("{encoding}: {e:?}"));
        let notices = notices.lock().unwrap();
        let [warning] = notices.as_slice() else { panic!("{encoding}: expected one warning, not {notices:?}") };
        let is_plain = matches!(encoding, "LATIN1" | "WIN1250" | "EUC_JP");
        assert_eq!(warning.message().is_ascii(), is_plain, "{encoding}: {warning}");
        let price = if is_plain { "der Preis in \\u{20ac}" } else { "der Preis in €" };
        assert!(warning.message().contains(price), "{encoding}: {warning}");
        assert_eq!(warning.where_(), None, "{encoding}");
    }
    assert_eq!(application.count("select count(*) from submissions"), 5);
    let errors =
        "select count(*) from webhook_delivery.capture_errors where error_message like '%€%' and hint like '%€%'";
    assert_eq!(application.count(errors), 5);
}

/// The CONTEXT of every message has the names of functions that the client's encoding lacks.
#[test]
fn warning_with_an_undecodable_function_name_costs_no_statement() {
    let mut application = failing_with("no", &[]);
    application
        .client
        .batch_execute(&format!(
            "create function \"fünf €\"() returns void language plpgsql as $$ begin {0}; end $$;
             create procedure \"sechs €\"() language plpgsql as $$ begin {0}; commit; {0}; end $$;
             create function five() returns void language sql as 'select \"fünf €\"()';
             create procedure six() language plpgsql as 'begin call \"sechs €\"(); end';
             create role clerk login; grant insert on submissions to clerk;
             set check_function_bodies = off",
            insert()
        ))
        .unwrap();
    let (mut session, notices) = session_with_notices(&application.cluster, "postgres");
    session.batch_execute("set client_encoding = 'LATIN1'").unwrap();
    session.batch_execute("select five()").unwrap();
    session.batch_execute("call six()").unwrap();
    assert_eq!(notices.lock().unwrap().len(), 3);
    let (mut clerk, notices) = session_with_notices(&application.cluster, "clerk");
    clerk.batch_execute("set client_encoding = 'LATIN1'; set webhook_delivery.capture = off").unwrap();
    clerk.batch_execute("select five()").unwrap();
    assert_eq!(notices.lock().unwrap().len(), 2, "the setting has no effect, and the event cannot be built");
    assert_eq!(application.count("select count(*) from submissions"), 4);
}

#[test]
fn session_settings_neither_end_it_nor_cost_an_event() {
    let mut listener = Listener::start(&[]);
    let settings = "set exit_on_error = on; set default_transaction_read_only = off; set restrict_nonsystem_relation_kind = 'view, foreign-table';
        set enable_indexscan = off; set from_collapse_limit = 1; set join_collapse_limit = 1; set work_mem = '64kB'";
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    session.batch_execute(settings).unwrap();
    session.batch_execute(&insert()).unwrap();
    assert_eq!((notices.lock().unwrap().len(), listener.received().len()), (0, 1));
    // An event that fails, and the warning about it, do not end the session with exit_on_error.
    listener.run(
        "create function fail(t text) returns text language plpgsql as $$ begin raise 'no'; end $$;
         alter table users rename to people;
         create view users as select id, fail(full_name) as full_name, email from people",
    );
    session.batch_execute(&insert()).unwrap();
    assert_eq!(notices.lock().unwrap().len(), 1);
    let (count, own): (i64, String) = {
        let row = session.query_one("select count(*), current_setting('exit_on_error') from submissions", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!((count, own.as_str()), (2, "on"));
}

#[test]
fn warning_of_application_code_costs_no_event() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create function noisy(t text) returns text language plpgsql as $$ begin raise warning '€'; return t; end $$;
         alter table users rename to people;
         create view users as select id, noisy(full_name) as full_name, email from people",
    );
    let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
    session.batch_execute("set client_encoding = 'LATIN1'").unwrap();
    session.batch_execute(&insert()).unwrap();
    assert_eq!((notices.lock().unwrap().len(), listener.received().len()), (0, 1));
}

/// Tests with modules of PostgreSQL's contrib, which not every server has. `tests/run.sh` runs them if the server
/// has them.
mod needs_contrib {
    use super::*;

    #[test]
    #[ignore = "needs postgres_fdw of PostgreSQL's contrib"]
    fn foreign_table_is_not_read_during_a_commit() {
        let mut listener = Listener::start(&[("max_prepared_transactions", "10")]);
        let socket = listener.application.cluster.socket_dir().display().to_string();
        listener.run(&format!(
            "alter table users rename to people;
             create extension postgres_fdw;
             create server here foreign data wrapper postgres_fdw options (host '{socket}', dbname 'postgres');
             create user mapping for postgres server here options (user 'postgres');
             create foreign table users (id uuid, full_name text, email text) server here options (table_name 'people')"
        ));
        // The session has or has not used the wrapper and planned the query before.
        for used_before in [false, true] {
            let (mut session, notices) = session_with_notices(&listener.application.cluster, "postgres");
            if used_before {
                session.batch_execute("select count(*) from users").unwrap();
                session
                    .batch_execute(&format!(
                        "select webhook_delivery.backfill('submission.created', array(select id from submissions)); {}",
                        insert()
                    ))
                    .unwrap();
            }
            for _ in 0..2 {
                session.batch_execute(&insert()).unwrap();
            }
            session.batch_execute(&format!("begin; {}", insert())).unwrap();
            session.batch_execute("prepare transaction 'p'").unwrap();
            session.batch_execute("commit prepared 'p'").unwrap();
            let notices = notices.lock().unwrap();
            assert!(
                notices.iter().all(|notice| notice.message().ends_with("cannot read foreign tables during a commit")),
                "{notices:?}"
            );
        }
        let again = "select sum(webhook_delivery.recapture(id))::bigint from webhook_delivery.capture_errors";
        assert_eq!(listener.application.count(again), 7);
        assert_eq!(listener.received().iter().filter(|(_, data)| data["submitted_by"] == "Dana Reyes").count(), 7 + 3);
    }
}
