//! A cluster behaves as the tests require. None of these tests needs the extension.

use super::*;
use crate::life_cycle::StopMode;
use crate::wait::{DEADLINE, wait_until};

fn without_extension() -> Cluster {
    Cluster::builder().without_preload().start()
}

#[test]
fn dropped_cluster_leaves_no_files() {
    let cluster = without_extension();
    assert_eq!(cluster.query_one::<i32>("select 40 + 2", &[]), 42);
    assert_eq!(cluster.worker_pid("postgres"), None);
    let (dir, socket_dir) = (cluster.dir.clone(), cluster.socket_dir.clone());
    drop(cluster);
    assert!(!dir.exists() && !socket_dir.exists());
}

#[test]
fn committed_rows_survive_an_immediate_stop() {
    let cluster = without_extension();
    cluster.execute("create table kept as select 1 as n");
    cluster.restart(StopMode::Immediate);
    assert_eq!(cluster.query_one::<i64>("select count(*) from kept", &[]), 1);
    assert!(cluster.log().contains("automatic recovery in progress"));
}

#[test]
fn changed_setting_takes_effect_in_every_session() {
    let cluster = Cluster::builder().without_preload().set("work_mem", "5MB").start();
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
fn standby_follows_its_primary_and_is_promoted() {
    let primary = without_extension();
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
fn client_program_connects_to_the_cluster() {
    let cluster = without_extension();
    let output = cluster.client_command("psql").args(["-XAtc", "select 'here'"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
}
