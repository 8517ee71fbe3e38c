//! The worker's role: it has no privileges beyond those that deliveries need.

use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

/// Statements that an attacker would run as the worker's role.
const FORBIDDEN: &[&str] = &[
    "create role mine superuser",
    "alter role current_user superuser",
    "set role postgres",
    "reset role",
    "set session authorization postgres",
    "select from pg_authid",
    "select pg_read_file('postgresql.conf')",
    "copy (select 1) to program 'true'",
    "select from public.private",
    "create table public.mine ()",
    "alter table webhook_delivery.queue add mine text",
    "drop table webhook_delivery.attempts",
    "select from webhook_delivery.endpoint_secrets",
    "update public.webhook_endpoints set url = 'https://example.com/'",
    "insert into webhook_delivery.events select",
    "delete from webhook_delivery.attempts",
    "select webhook_delivery.emit('submission.created', gen_random_uuid(), '{}')",
    "select webhook_delivery.grant_api('webhook_delivery_worker')",
    "select webhook_delivery.resume()",
];

/// Makes the worker run these statements when it records an attempt.
const TRAP: &str = "create table public.private ();
    create table public.tried (statement text, role text, code text);
    grant select, insert on public.tried to public;
    create table public.forbidden (statement text);
    grant select on public.forbidden to public;
    create function public.trap() returns trigger language plpgsql as $$
    declare
        forbidden text;
        code text;
    begin
        for forbidden in select statement from public.forbidden loop
            begin
                execute forbidden;
                code := 'done';
            exception when others then
                code := sqlstate;
            end;
            insert into public.tried values (forbidden, current_user, code);
        end loop;
        return null;
    end $$;
    create trigger trap after delete on webhook_delivery.queue for each statement execute function public.trap()";

#[test]
fn worker_role_can_only_deliver() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(&[]);
    client.batch_execute(TRAP).unwrap();
    client.execute("insert into public.forbidden select unnest($1::text[])", &[&FORBIDDEN]).unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    let tried = client.query("select distinct statement, role, code from public.tried", &[]).unwrap();
    assert_eq!(tried.len(), FORBIDDEN.len());
    for row in tried {
        let (statement, role, code): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        assert_eq!((role.as_str(), code.as_str()), ("webhook_delivery_worker", "42501"), "{statement}");
    }
}

#[test]
fn missing_worker_role_stops_sending_with_a_reason() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.role", "deliverer")]);
    let role = "select rolsuper or rolcanlogin or rolcreaterole or rolcreatedb or rolreplication from pg_roles where rolname = 'deliverer'";
    assert!(!client.query_one(role, &[]).unwrap().get::<_, bool>(0));
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");

    cluster.set("webhook_delivery.role", "nobody");
    endpoint.emit(&mut client, 1);
    let problem: String = wait_until("the problem in the status", DEADLINE, || {
        client.query_one("select problem from webhook_delivery.status", &[]).unwrap().get(0)
    });
    assert!(problem.contains("role nobody does not exist"), "{problem}");
    assert!(cluster.log().contains("webhook_delivery.grant_worker"));

    client.batch_execute("create role nobody").unwrap();
    let error = webhook_harness::refusal(&mut client, "select webhook_delivery.grant_worker('nobody')", &[]);
    assert!(error.hint().unwrap_or_default().contains("alter role nobody bypassrls"), "{error:?}");
    client.batch_execute("alter role nobody bypassrls; select webhook_delivery.grant_worker('nobody')").unwrap();
    endpoint.wait_for(&mut client, 2, "success");
    assert_eq!(receiver.count(), 2);
}
