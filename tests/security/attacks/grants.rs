//! Accidental grants on the private schema reveal nothing.

use postgres::Client;
use webhook_harness::{Application, Receiver, Reply, Submission, sample};

/// Every table in the private schema, including the worker's partitions, except the tables that
/// define how events are read.
const PRIVATE: &str = "select pg_class.oid::regclass::text, relrowsecurity from pg_class
    where relkind in ('r', 'p') and relnamespace = 'webhook_delivery'::regnamespace
        and relname not in ('capture_rules', 'required_tables', 'payload_queries')
    order by 1";

fn tables(client: &mut Client) -> Vec<(String, bool)> {
    client.query(PRIVATE, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn all_privileges_on_the_private_schema_show_no_row() {
    let receiver = Receiver::start(|request| if request.path == "/bad" { Reply::status(500) } else { Reply::ok() });
    let mut application = Application::start(&[]);
    for path in ["/", "/bad"] {
        application.endpoint(sample::RIVERSIDE, &receiver.url(path), &["*"]);
    }
    application.client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(1, "success");
    application.wait_for_deliveries(1, "retrying");
    application
        .client
        .batch_execute(
            "select webhook_delivery.pause('for a reason', auction_id => gen_random_uuid());
             insert into webhook_delivery.capture_errors (event_type, row_ids, error_code, error_message) values ('x', '{}', 'x', 'x');
             create role stranger login; grant usage on schema webhook_delivery to stranger;
             grant all on all tables in schema webhook_delivery to stranger",
        )
        .unwrap();
    let mut stranger = application.cluster.connect_as("stranger", "postgres");
    let tables = tables(&mut application.client);
    assert!(tables.len() > 25, "{tables:?}");
    let mut filled = 0;
    for (table, has_row_security) in tables {
        assert!(has_row_security, "{table} has no row-level security");
        let count = format!("select count(*) from {table}");
        filled += i64::from(application.count(&count) > 0);
        // The queue's policy needs privileges that only grant_api() gives, so reading it may fail.
        let seen = stranger.query_one(&count, &[]).map(|row| row.get::<_, i64>(0));
        assert!(matches!(seen, Ok(0) | Err(_)), "{table}: {seen:?}");
        assert!(!matches!(stranger.execute(&format!("delete from {table}"), &[]), Ok(1..)), "{table}");
    }
    assert!(filled >= 10, "{filled} tables with rows");
}
