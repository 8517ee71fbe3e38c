//! Backups: which roles can run `pg_dump`, with which options, and what the dump contains.

use std::process::Output;

use postgres::Client;
use webhook_harness::{Application, DEADLINE, Receiver, Reply, Submission, inventory, sample, wait_until};

/// Options of `pg_dump` that leave out the extension's own data.
const WITHOUT_OURS: [&str; 4] = ["--exclude-schema", "webhook_delivery", "--exclude-table", "public.webhook_*"];

/// An application that a role without superuser rights owns, with an endpoint, a delivery and the
/// worker's partitions.
fn scene() -> (Application, Receiver) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let client = &mut application.client;
    client
        .batch_execute(
            "create role app login; alter database postgres owner to app; grant all on schema public to app;
             create role backup login bypassrls in role pg_read_all_data;
             do $$ declare owned regclass; begin
                 for owned in select oid from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname not like 'webhook%' loop
                     execute format('alter table %s owner to app', owned);
                 end loop; end $$",
        )
        .unwrap();
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(1, "success");
    wait_until("the worker's partitions", DEADLINE, || {
        (application.count("select count(*) from pg_inherits") >= 17).then_some(())
    });
    (application, receiver)
}

fn pg_dump(application: &Application, role: &str, arguments: &[&str]) -> Output {
    application.cluster.client_command("pg_dump").args(["--username", role]).args(arguments).output().unwrap()
}

#[track_caller]
fn dump(application: &Application, role: &str, arguments: &[&str]) -> String {
    let output = pg_dump(application, role, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn restore(application: &Application, name: &str, dump: &str) -> Client {
    application.cluster.execute(&format!("create database {name} template template0"));
    let path = application.cluster.socket_dir().join(name);
    std::fs::write(&path, dump).unwrap();
    let mut psql = application.cluster.client_command("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", name, "--file"]).arg(&path);
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    application.cluster.connect_to(name)
}

fn count(client: &mut Client, table: &str) -> i64 {
    client.query_one(&format!("select count(*) from {table}"), &[]).unwrap().get(0)
}

#[test]
fn role_with_pg_read_all_data_and_bypassrls_makes_full_backup() {
    let (mut application, _receiver) = scene();
    let original = inventory(&mut application.client);
    let mut copy = restore(&application, "complete", &dump(&application, "backup", &[]));
    assert_eq!(inventory(&mut copy), original);
    for table in [
        "public.submissions",
        "public.webhook_endpoints",
        "public.webhook_deliveries",
        "webhook_delivery.endpoint_secrets",
    ] {
        assert_eq!(count(&mut copy, table), count(&mut application.client, table), "{table}");
    }
    let mut copy = restore(&application, "schema", &dump(&application, "backup", &["--schema-only"]));
    assert_eq!((count(&mut copy, "public.submissions"), count(&mut copy, "public.webhook_endpoints")), (0, 0));
    for arguments in
        [["--schema", "public"], ["--exclude-schema", "webhook_delivery"], ["--schema", "webhook_delivery"]]
    {
        dump(&application, "backup", &arguments);
        dump(&application, "backup", &[arguments.as_slice(), &["--schema-only"]].concat());
    }
}

#[test]
fn application_owner_backs_up_without_the_extensions_data() {
    let (application, _receiver) = scene();
    for (name, options) in [
        ("of_owner", WITHOUT_OURS.as_slice()),
        ("of_owner_schema", &[WITHOUT_OURS.as_slice(), &["--schema-only"]].concat()),
    ] {
        let dump = dump(&application, "app", options);
        let mut copy = restore(&application, name, &dump);
        let has_data = !options.contains(&"--schema-only");
        assert_eq!(count(&mut copy, "public.submissions"), i64::from(has_data), "{options:?}");
        assert_eq!(count(&mut copy, "public.webhook_endpoints"), 0, "{options:?}");
        // The copy has the extension and its triggers: an endpoint can be created there.
        let receiver = Receiver::start(|_| Reply::ok());
        webhook_harness::application::endpoint(&mut copy, sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        let attached = "pg_trigger where tgfoid = 'webhook_delivery.capture_row_change'::regproc and tgenabled = 'O'";
        assert!(count(&mut copy, attached) > 10);
    }
    for options in [["--schema", "public"].as_slice(), &["--schema", "public", "--schema-only"]] {
        dump(&application, "app", &[options, &WITHOUT_OURS[2..]].concat());
    }
    // pg_dump omits nothing by default: it fails instead of writing a backup that lacks endpoints
    // and secrets.
    for options in
        [[].as_slice(), &["--schema-only"], &["--schema", "public"], &["--exclude-schema", "webhook_delivery"]]
    {
        let output = pg_dump(&application, "app", options);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("permission denied"), "{options:?}: {said}");
    }
}
