//! A publication for all tables: every table has a replica identity, so that it can be changed.

use std::collections::HashMap;

use webhook_harness::{Application, DEADLINE, Receiver, Reply, Submission, checkout, sample, wait_until};

#[test]
fn publication_for_all_tables_allows_changes_of_every_table() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[("wal_level", "logical")]);
    application.client.batch_execute("create publication everything for all tables").unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    application.client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    // The server checks the replica identity before it searches rows, so that no row is needed. The
    // query gives each table with a column that can be set.
    let tables = "select relation.oid::regclass::text, quote_ident(min(attribute.attname))
        from pg_class as relation join pg_attribute as attribute on attribute.attrelid = relation.oid
        where relation.relkind in ('r', 'p') and attribute.attnum > 0 and attribute.attidentity = '' and not attribute.attisdropped
            and (relation.relnamespace = 'webhook_delivery'::regnamespace or relation.relname in ('webhook_endpoints', 'webhook_event_types'))
        group by 1";
    let tables = application.client.query(tables, &[]).unwrap();
    assert!(tables.len() > 30);
    for table in tables {
        let (table, column): (String, String) = (table.get(0), table.get(1));
        for change in
            [format!("update {table} set {column} = {column} where false"), format!("delete from {table} where false")]
        {
            application.client.batch_execute(&change).unwrap_or_else(|e| panic!("{change}: {:?}", e.as_db_error()));
        }
    }
    // The statements that users run.
    let pause = "select webhook_delivery.pause('for a reason', endpoint_id => $1)";
    application.client.execute(pause, &[&endpoint.id]).unwrap();
    application.client.execute("select webhook_delivery.resume(endpoint_id => $1)", &[&endpoint.id]).unwrap();
    Submission::of_riverside().insert(&mut application.client);
    endpoint.wait_for(&mut application.client, 1, "success");
    application.client.execute(pause, &[&endpoint.id]).unwrap();
    application.client.execute("delete from webhook_endpoints where id = $1", &[&endpoint.id]).unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.pauses"), 0);
}

/// The columns of each INSERT in the output of pg_recvlogical with pgoutput: "Logical Replication
/// Message Formats" in the documentation of PostgreSQL. A newline follows each message.
fn inserted_rows(output: &[u8]) -> Vec<Vec<Option<String>>> {
    struct Reader<'a>(&'a [u8]);
    impl<'a> Reader<'a> {
        fn take(&mut self, bytes: usize) -> &'a [u8] {
            let (taken, rest) = self.0.split_at(bytes);
            self.0 = rest;
            taken
        }
        fn number(&mut self, bytes: usize) -> usize {
            self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
        }
        fn text(&mut self) -> &'a [u8] {
            let length = self.0.iter().position(|byte| *byte == 0).expect("a NUL");
            &self.take(length + 1)[..length]
        }
    }
    let mut reader = Reader(output);
    let (mut relations, mut rows) = (HashMap::new(), Vec::new());
    while !reader.0.is_empty() {
        match reader.take(1)[0] {
            b'B' => drop(reader.take(20)),
            b'C' => drop(reader.take(25)),
            b'R' => {
                let relation = reader.number(4);
                reader.text();
                relations.insert(relation, reader.text());
                reader.take(1);
                for _ in 0..reader.number(2) {
                    reader.take(1);
                    reader.text();
                    reader.take(8);
                }
            }
            b'I' => {
                assert_eq!(relations[&reader.number(4)], b"events", "not of a partition");
                reader.take(1);
                let columns = (0..reader.number(2)).map(|_| match reader.take(1)[0] {
                    b'n' => None,
                    b't' => {
                        let length = reader.number(4);
                        Some(String::from_utf8(reader.take(length).to_vec()).expect("UTF-8"))
                    }
                    other => panic!("a value of kind {other}"),
                });
                rows.push(columns.collect());
            }
            other => panic!("a message of type {other}"),
        }
        assert_eq!(reader.take(1), b"\n");
    }
    rows
}

#[test]
fn publication_streams_the_committed_events_and_all_if_the_setting_says_so() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[("wal_level", "logical")]);
    let documented = std::fs::read_to_string(checkout().join("docs/event-stream.md")).unwrap();
    let create = documented.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a snippet");
    application.client.batch_execute(create).unwrap();
    application.cluster.execute("select pg_create_logical_replication_slot('stream', 'pgoutput')");
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);

    let insert = |application: &mut Application, commit: bool| {
        let mut transaction = application.client.transaction().unwrap();
        for submission in [Submission::of_riverside(), Submission::of_hilltop()] {
            submission.insert(&mut transaction);
        }
        if commit { transaction.commit() } else { transaction.rollback() }.unwrap();
    };
    insert(&mut application, true);
    insert(&mut application, false);
    application.cluster.set("webhook_delivery.record_all_events", "on");
    wait_until("the setting", DEADLINE, || {
        let shown: String =
            application.client.query_one("show webhook_delivery.record_all_events", &[]).unwrap().get(0);
        (shown == "on").then_some(())
    });
    insert(&mut application, true);
    let emit = "select webhook_delivery.emit('submission.updated', $1, '{}') is not null";
    assert!(application.client.query_one(emit, &[&sample::HILLTOP]).unwrap().get::<_, bool>(0));
    endpoint.wait_for(&mut application.client, 2, "success");
    // Rows that move to another partition are no new events, and dropped ones are not deleted.
    application.client.batch_execute("select webhook_delivery.create_partitions()").unwrap();

    let end: String = application.client.query_one("select pg_current_wal_insert_lsn()::text", &[]).unwrap().get(0);
    let read = application
        .cluster
        .client_command("pg_recvlogical")
        .args(["--dbname=postgres", "--slot=stream", "--start", "--no-loop", "--file=-"])
        .args(["--option=proto_version=1", "--option=publication_names=webhook_events"])
        .arg(format!("--endpos={end}"))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let mut streamed: Vec<Vec<Option<String>>> = inserted_rows(&read.stdout);
    streamed.sort_unstable();
    let columns = "select id::text, auction_id::text, event_type, occurred_at::text, row_id::text, data::text
        from webhook_delivery.events order by id::text";
    let written: Vec<Vec<Option<String>>> = application
        .client
        .query(columns, &[])
        .unwrap()
        .iter()
        .map(|row| (0..row.len()).map(|column| row.get(column)).collect())
        .collect();
    assert_eq!(streamed, written);
    let types: Vec<&str> = written.iter().filter_map(|row| row[2].as_deref()).collect();
    assert_eq!(types, ["submission.created", "submission.created", "submission.created", "submission.updated"]);
    assert_eq!(receiver.count(), 2, "recorded events of Hilltop have no endpoint");
    // An endpoint that is created later can have them.
    let later = application.endpoint(sample::HILLTOP, &receiver.url("/later"), &["*"]);
    let replay = "select replay_webhooks($1, since => now() - interval '1 hour')";
    assert_eq!(application.client.query_one(replay, &[&later.id]).unwrap().get::<_, i64>(0), 2);
    later.wait_for(&mut application.client, 2, "success");
}
