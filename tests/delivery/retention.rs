//! Retention: old events and history are dropped. That blocks no other session, and deliveries that
//! still wait end as expired.

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, wait_until};

/// A paused server with an endpoint and partitions of 40 days ago. The worker maintains partitions
/// after each reload.
fn paused_cluster(settings: &[(&str, &str)], receiver: &Receiver) -> (Cluster, Client, Endpoint) {
    let (cluster, mut client) = Cluster::with_client(settings);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    wait_until("the pause", DEADLINE, || {
        client.query_opt("select from webhook_delivery.status where state = 'paused'", &[]).unwrap()
    });
    client
        .batch_execute(
            "select webhook_delivery.create_partitions();
             select webhook_delivery.create_partition(parent, key, (now() at time zone 'UTC')::date - 40)
             from (values ('events', 'id'), ('attempts_ended', 'delivery_id'), ('attempts_retried', 'delivery_id')) as known (parent, key)",
        )
        .unwrap();
    (cluster, client, endpoint)
}

/// Inserts events of that many days ago, each delivered then or still waiting.
fn insert_events(client: &mut Client, endpoint: &Endpoint, days_ago: i32, events: i32, waits: bool) {
    let sql = "with event as (
            insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
            select (substr(webhook_delivery.uuid_v7_floor(moment)::text, 1, 24) || right(gen_random_uuid()::text, 12))::uuid, $1, 'submission.created', moment, '{}'
            from generate_series(1, $3) as n, (values (now() - $4 * interval '1 day')) as known (moment)
            returning *
        ), waiting as (
            insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
            select now() + interval '1 hour', id, auction_id, $2, id, event_type from event where $5
        )
        insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
            response_status_code, response_time_ms, attempted_at, created_at)
        select id, 1, auction_id, $2, id, event_type, true, 'success', 200, 1, occurred_at, occurred_at from event where not $5";
    client.execute(sql, &[&endpoint.auction_id, &endpoint.id, &events, &f64::from(days_ago), &waits]).unwrap();
}

fn count(client: &mut Client, query: &str) -> i64 {
    client.query_one(&format!("select count(*) from {query}"), &[]).unwrap().get(0)
}

const OLD: &str =
    "pg_inherits where inhrelid::regclass::text ~ to_char((now() at time zone 'UTC')::date - 40, 'YYYYMMDD$')";

#[track_caller]
fn wait_for_expiry(client: &mut Client) {
    wait_until("the old partitions to be dropped", DEADLINE, || (count(client, OLD) == 0).then_some(()));
}

#[test]
fn rows_older_than_the_retention_are_dropped_and_others_stay() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client, endpoint) = paused_cluster(&[], &receiver);
    insert_events(&mut client, &endpoint, 40, 100, false);
    insert_events(&mut client, &endpoint, 0, 10, false);
    // Days without a partition.
    insert_events(&mut client, &endpoint, 50, 5, false);
    insert_events(&mut client, &endpoint, 20, 7, false);
    assert_eq!(count(&mut client, OLD), 3);
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    wait_for_expiry(&mut client);
    wait_until("the old rows without a partition to be deleted", DEADLINE, || {
        (count(&mut client, "webhook_delivery.events") == 17).then_some(())
    });
    assert_eq!(count(&mut client, "webhook_deliveries"), 17);
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 18, "success");
}

#[test]
fn waiting_deliveries_expire_when_their_events_are_dropped() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client, endpoint) = paused_cluster(&[], &receiver);
    let disabled = Endpoint::create(&mut client, &receiver.url("/"));
    client.execute("update webhook_endpoints set is_active = false where id = $1", &[&disabled.id]).unwrap();
    insert_events(&mut client, &endpoint, 40, 3, true);
    insert_events(&mut client, &disabled, 40, 4, true);
    insert_events(&mut client, &endpoint, 2, 5, true);
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    wait_for_expiry(&mut client);
    for (endpoint, expired) in [(&endpoint, 3), (&disabled, 4)] {
        let failed = endpoint.wait_for(&mut client, expired, "failed");
        assert!(failed.iter().all(|delivery| delivery.error_message.as_deref() == Some("expired")), "{failed:?}");
    }
    assert_eq!(endpoint.deliveries(&mut client).iter().filter(|delivery| delivery.status == "pending").count(), 5);
    assert_eq!(receiver.count(), 0);
}

#[test]
fn reader_of_an_old_partition_delays_only_its_removal() {
    let receiver = Receiver::by_path();
    let (cluster, mut client, endpoint) = paused_cluster(&[], &receiver);
    insert_events(&mut client, &endpoint, 40, 10, false);
    let mut other = cluster.connect();
    let mut reading = other.transaction().unwrap();
    let read =
        "select (select count(*) from webhook_delivery.events) + 0 * (select count(*) from webhook_delivery.attempts)";
    assert_eq!(reading.query_one(read, &[]).unwrap().get::<_, i64>(0), 10);
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    for round in 1..=20 {
        if round % 5 == 0 {
            cluster.reload();
        }
        endpoint.emit(&mut client, 1);
        endpoint.wait_for(&mut client, 10 + round, "success");
    }
    assert_eq!(count(&mut client, OLD), 3, "the reader holds the old partitions");
    assert_eq!(reading.query_one(read, &[]).unwrap().get::<_, i64>(0), 30);
    reading.commit().unwrap();
    cluster.reload();
    wait_for_expiry(&mut client);
}

#[test]
fn zero_retention_drops_nothing_until_a_reload_shortens_it() {
    let receiver = Receiver::by_path();
    let (cluster, mut client, endpoint) = paused_cluster(&[("webhook_delivery.retention", "0")], &receiver);
    insert_events(&mut client, &endpoint, 40, 10, false);
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    for made in 11..=13 {
        endpoint.emit(&mut client, 1);
        endpoint.wait_for(&mut client, made, "success");
        cluster.reload();
    }
    assert_eq!(count(&mut client, OLD), 3);
    cluster.set("webhook_delivery.retention", "39d");
    wait_for_expiry(&mut client);
    assert_eq!(count(&mut client, "webhook_deliveries"), 3);
}

#[test]
fn year_of_retention_needs_fewer_than_36_partitions() {
    let (cluster, mut client) =
        Cluster::with_client(&[("webhook_delivery.databases", ""), ("webhook_delivery.retention", "7d")]);
    let spans = |client: &mut Client, days_ahead: i32| -> Vec<f64> {
        client.execute("select webhook_delivery.create_partitions($1)", &[&days_ahead]).unwrap();
        let spans = "select extract(epoch from ends_at - begins_at)::float8 / 86400 from webhook_delivery.partitions('events') order by begins_at";
        client.query(spans, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(spans(&mut client, 3), [1.0; 4]);
    cluster.set("webhook_delivery.retention", "365d");
    let mut client = cluster.connect();
    let of_a_year = spans(&mut client, 365);
    assert_eq!(of_a_year[..4], [1.0; 4], "existing partitions stay");
    assert!(of_a_year[4..].iter().all(|span| *span == 13.0), "{of_a_year:?}");
    assert!(of_a_year.len() < 36, "{}", of_a_year.len());
    // Each partition begins where the previous one ends, in every table.
    let gaps = "select from (select begins_at, lag(ends_at) over (partition by parent order by begins_at) as before
        from unnest('{events, attempts_ended, attempts_retried}'::name[]) as parent, webhook_delivery.partitions(parent)) as known
        where before <> begins_at";
    assert!(client.query(gaps, &[]).unwrap().is_empty());
}

#[test]
fn create_partitions_moves_rows_out_of_the_default_partition() {
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.databases", "")]);
    client
        .batch_execute(
            "select webhook_delivery.create_partition('events', 'id', (now() at time zone 'UTC')::date - 4);
             insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
             select webhook_delivery.uuid_v7_floor(now() - days * interval '1 day'), gen_random_uuid(), 'submission.created', now(), '{}'
             from generate_series(0, 4) as days;
             select webhook_delivery.create_partitions()",
        )
        .unwrap();
    assert_eq!(count(&mut client, "webhook_delivery.events_default"), 0);
    assert_eq!(count(&mut client, "webhook_delivery.events"), 5);
}

#[test]
fn partitions_from_a_clock_ahead_leave_no_gap_before_them() {
    for (retention, days) in [("30d", 1), ("365d", 13)] {
        let settings = [("webhook_delivery.databases", ""), ("webhook_delivery.retention", retention)];
        let (_cluster, mut client) = Cluster::with_client(&settings);
        let create = format!(
            "select webhook_delivery.create_partition(parent, key, (now() at time zone 'UTC')::date + 40, {days})
             from (values ('events', 'id'), ('attempts_ended', 'delivery_id'), ('attempts_retried', 'delivery_id')) as known (parent, key);
             select webhook_delivery.create_partitions(), webhook_delivery.create_partitions(41)"
        );
        client.batch_execute(&create).unwrap();
        let gaps = "select from (select begins_at, lag(ends_at) over (order by begins_at) as before from webhook_delivery.partitions('events')) as known
            where before <> begins_at";
        assert!(client.query(gaps, &[]).unwrap().is_empty(), "{retention}");
        let today =
            "(select from webhook_delivery.partitions('events') where now() between begins_at and ends_at) as today";
        assert_eq!(count(&mut client, today), 1, "{retention}");
    }
}

#[test]
fn dropping_a_partition_writes_little_wal_whatever_its_size() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client, endpoint) = paused_cluster(&[], &receiver);
    insert_events(&mut client, &endpoint, 40, 100_000, false);
    client.batch_execute("checkpoint").unwrap();
    let written = |client: &mut Client| -> i64 {
        let lsn = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        client.query_one(lsn, &[]).unwrap().get(0)
    };
    let before = written(&mut client);
    while client
        .query_one("select dropped from webhook_delivery.drop_expired()", &[])
        .unwrap()
        .get::<_, Option<String>>(0)
        .is_some()
    {}
    assert_eq!(count(&mut client, OLD), 0);
    let bytes = written(&mut client) - before;
    // A DELETE of the rows would write about 15 MB.
    assert!(bytes < 2_000_000, "{bytes} bytes of WAL");
}

#[test]
fn partition_just_created_by_another_session_is_no_error() {
    let receiver = Receiver::by_path();
    let (cluster, mut client, _) = paused_cluster(&[], &receiver);
    let make = "select webhook_delivery.create_partition('events', 'id', (now() at time zone 'UTC')::date + 20)";
    let mut first = client.transaction().unwrap();
    assert!(first.query_one(make, &[]).unwrap().get::<_, bool>(0));
    let mut other = cluster.connect();
    let second = std::thread::spawn(move || other.query_one(make, &[]).map(|row| row.get::<_, bool>(0)));
    let waits = "select count(*) from pg_locks where not granted and relation = 'webhook_delivery.events'::regclass";
    wait_until("the second session to wait", DEADLINE, || (cluster.query_one::<i64>(waits, &[]) > 0).then_some(()));
    first.commit().unwrap();
    assert!(!second.join().unwrap().unwrap(), "the partition exists already");
}
