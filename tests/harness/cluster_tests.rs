//! A test's server behaves as the tests rely on. None of these needs the extension.

use super::*;
use crate::life_cycle::StopMode;
use crate::wait::{DEADLINE, wait_until};

fn bare() -> Cluster {
    Cluster::builder().without_extension().start()
}

#[test]
fn a_server_starts_answers_and_leaves_nothing_behind() {
    let cluster = bare();
    assert_eq!(cluster.query_one::<i32>("select 40 + 2", &[]), 42);
    assert_eq!(cluster.worker_pid("postgres"), None);
    let (dir, socket_dir) = (cluster.dir.clone(), cluster.socket_dir.clone());
    drop(cluster);
    assert!(!dir.exists() && !socket_dir.exists());
}

#[test]
fn what_was_committed_survives_an_immediate_stop() {
    let cluster = bare();
    cluster.execute("create table kept as select 1 as n");
    cluster.restart(StopMode::Immediate);
    assert_eq!(cluster.query_one::<i64>("select count(*) from kept", &[]), 1);
    assert!(cluster.log().contains("automatic recovery in progress"));
}

#[test]
fn a_setting_given_at_the_start_holds_and_once_changed_every_session_knows_it() {
    let cluster = Cluster::builder().without_extension().set("work_mem", "5MB").start();
    let shown = |client: &mut postgres::Client| -> String { client.query_one("show work_mem", &[]).unwrap().get(0) };
    let mut open = cluster.connect();
    assert_eq!(shown(&mut open), "5MB");
    for megabytes in 6..36 {
        let value = format!("{megabytes}MB");
        cluster.set("work_mem", &value);
        assert_eq!([shown(&mut open), shown(&mut cluster.connect())], [value.clone(), value]);
    }
}

#[test]
fn a_standby_follows_its_primary_and_takes_over() {
    let primary = bare();
    let standby = primary.standby();
    primary.execute("create table followed as select 7 as n");
    wait_until("the table on the standby", DEADLINE, || {
        standby.query_one::<Option<String>>("select to_regclass('followed')::text", &[])
    });
    assert!(standby.query_one::<bool>("select pg_is_in_recovery()", &[]));
    primary.stop(StopMode::Immediate);
    standby.promote();
    standby.execute("insert into followed values (8)");
}

#[test]
fn a_client_program_reaches_the_cluster() {
    let cluster = bare();
    let output = cluster.client_command("psql").args(["-XAtc", "select 'here'"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
}
