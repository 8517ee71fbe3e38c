//! A publication for all tables: every table has a replica identity, so that it can be changed.

use webhook_harness::{Application, Receiver, Reply, Submission, sample};

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
