//! Transactions that change very many rows: memory, time, warnings and dead letters stay bounded.

use std::fs;

use postgres::{Client, NoTls};
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Receiver, Reply, sample, wait_until};

/// Enough for several batches, and few enough for a test of seconds.
/// docs/benchmarks.md gives the cost of a million rows.
const ROWS: i64 = 100_000;

fn insert_rows(client: &mut Client, rows: i64) {
    let insert =
        "insert into public.submissions (auction_id, location_id) select $1, $2 from generate_series(1, $3::bigint)";
    assert_eq!(client.execute(insert, &[&sample::RIVERSIDE, &sample::NORTH_LOT, &rows]).unwrap(), rows as u64);
}

/// Commits within a deadline and returns the session.
fn committed_in_time(mut user: Client) -> Client {
    let committing = std::thread::spawn(move || {
        user.batch_execute("commit").unwrap();
        user
    });
    wait_until("the commit", DEADLINE * 2, || committing.is_finished().then_some(()));
    committing.join().unwrap()
}

/// The backend's peak private memory in MiB, without the server's shared memory that it maps.
fn peak_memory(client: &mut Client) -> u64 {
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running backend");
    let kib = |name: &str| -> u64 {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name in /proc/<pid>/status");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    };
    kib("VmHWM:").saturating_sub(kib("RssShmem:")) / 1024
}

#[test]
fn large_insert_is_delivered_once_and_needs_little_memory() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[("shared_buffers", "32MB")]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);
    let mut user = application.cluster.connect();
    // Statistics taken before the commit say that the table is empty. A plan that trusts them
    // takes an hour.
    user.batch_execute("begin").unwrap();
    insert_rows(&mut user, ROWS);
    application.client.batch_execute("analyze public.submissions").unwrap();
    let mut user = committed_in_time(user);
    // About 60 bytes for each row and a few batches of 4 MB. The rest is an idle backend's memory.
    let peak = peak_memory(&mut user);
    assert!(peak < 80, "the session used {peak} MiB");
    receiver.wait_for_distinct(ROWS as usize, DEADLINE * 4);
    application.settle();
    let delivered = "select count(distinct event.data ->> 'id') from webhook_deliveries as delivery
        join webhook_delivery.events as event on event.id = delivery.event_id
        where delivery.status = 'success' and delivery.endpoint_id = $1";
    let delivered: i64 = application.client.query_one(delivered, &[&endpoint.id]).unwrap().get(0);
    assert_eq!(delivered, ROWS);
}

#[test]
fn session_that_writes_large_rows_needs_little_memory() {
    let mut application = Application::start(&[("shared_buffers", "32MB"), ("webhook_delivery.databases", "")]);
    let table = "create table documents (auction_id uuid, body text);
        select webhook_delivery.register_event_type('document.made', 'Made', 'true', '{}');
        create trigger made after insert on documents for each row execute function webhook_delivery.row_event('document.made', 'auction_id')";
    application.client.batch_execute(table).unwrap();
    application.endpoint(sample::RIVERSIDE, "https://example.com/", &["document.made"]);
    // 400 MB of text, which compression stores in a few hundred kilobytes.
    let mut user = application.cluster.connect();
    let insert = "insert into documents select $1, repeat('x', 10000000) from generate_series(1, 40)";
    user.execute(insert, &[&sample::RIVERSIDE]).unwrap();
    let peak = peak_memory(&mut user);
    assert!(peak < 150, "the session used {peak} MiB");
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 40);
}

#[test]
fn rows_that_all_fail_give_one_warning_and_can_be_recaptured() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);
    // Each row fails with a different message.
    let fail = "alter table public.locations rename to lots;
        create table public.switch (is_broken boolean); insert into public.switch values (true);
        create function public.lot_name(name text) returns text language plpgsql volatile as $$
        begin
            if (select is_broken from public.switch) then raise exception 'no % today', gen_random_uuid(); end if;
            return name;
        end $$;
        create view public.locations as select id, auction_id, public.lot_name(name) as name from public.lots";
    application.client.batch_execute(fail).unwrap();
    let warnings = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&warnings);
    let mut config = application.cluster.config();
    config.notice_callback(move |notice| heard.lock().unwrap().push(notice.message().to_owned()));
    let mut user = config.connect(NoTls).unwrap();
    insert_rows(&mut user, 5_000);
    assert_eq!(application.count("select count(*) from public.submissions"), 5_000);
    let warnings = warnings.lock().unwrap();
    let [warning] = warnings.as_slice() else { panic!("expected one warning, not {}", warnings.len()) };
    assert!(
        warning.starts_with("5000 webhook events were not sent; submission.created was not sent: no "),
        "{warning}"
    );
    let errors = application.client.query("select row_ids from webhook_delivery.capture_errors", &[]).unwrap();
    assert!((1..=20).contains(&errors.len()), "{} rows", errors.len());
    let mut ids: Vec<Uuid> = errors.iter().flat_map(|row| row.get::<_, Vec<Uuid>>(0)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5_000, "each row is in exactly one capture error");

    application.client.batch_execute("update public.switch set is_broken = false").unwrap();
    let again = "select sum(webhook_delivery.recapture(id))::bigint from webhook_delivery.capture_errors";
    assert_eq!(application.count(again), 5_000);
    receiver.wait_for_distinct(5_000, DEADLINE);
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

#[test]
fn rows_rolled_back_one_by_one_write_no_events() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);
    let mut transaction = application.client.transaction().unwrap();
    let insert = "insert into public.submissions (auction_id) select $1 from generate_series(1, 20000)";
    transaction.execute(insert, &[&sample::RIVERSIDE]).unwrap();
    let rolled_back = format!(
        "do $$ begin for i in 1..2000 loop
            begin
                insert into public.submissions (auction_id) values ('{}');
                raise exception 'no';
            exception when others then null; end;
        end loop; end $$",
        sample::RIVERSIDE
    );
    transaction.batch_execute(&rolled_back).unwrap();
    transaction.commit().unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 20_000);
}
