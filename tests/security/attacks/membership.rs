//! No role can make itself an administrator of an auction.

use postgres::Client;
use webhook_harness::{Application, Receiver, Reply, Supabase, sample, tenant};

const FAKE: &str = "create table public.auction_members (auction_id uuid, user_id uuid, role text);
    insert into public.auction_members select id, '00000000-0000-4000-8000-0000000000f1', 'owner' from unnest($ids::uuid[]) as id;
    create table public.auctions (id uuid, name text);
    insert into public.auctions select id, 'not its name' from unnest($ids::uuid[]) as id";

fn access_problem(client: &mut Client) -> Option<String> {
    client.query_one("select access_problem from webhook_delivery.status", &[]).unwrap().get(0)
}

fn endpoints_of(cluster: &webhook_harness::Cluster) -> i64 {
    let claims = "{\"sub\": \"00000000-0000-4000-8000-0000000000f1\"}";
    let mut session = tenant::session(cluster, "tenant", claims);
    session.query_one("select count(*) from webhook_endpoints", &[]).unwrap().get(0)
}

#[test]
fn role_that_creates_tables_in_public_gains_no_admin_access() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    tenant::create_roles(&mut application.client);
    let client = &mut application.client;
    assert_eq!(access_problem(client), None);
    client.batch_execute("drop table public.auction_members cascade; drop table public.auctions cascade").unwrap();
    assert!(access_problem(client).unwrap().starts_with("Table public.auction_members does not exist"));
    client.batch_execute("create role mallory login; grant create on schema public to mallory").unwrap();
    let mut mallory = application.cluster.connect_as("mallory", "postgres");
    mallory.batch_execute(&FAKE.replace("$ids", &format!("'{{{}}}'", sample::RIVERSIDE))).unwrap();
    assert_eq!(endpoints_of(&application.cluster), 0);
    let client = &mut application.client;
    let problem = access_problem(client).unwrap();
    assert!(problem.starts_with("public.auction_members belongs to mallory"), "{problem}");
    let reported = "select detail from webhook_delivery.install_triggers() where result = 'access'";
    assert_eq!(client.query_one(reported, &[]).unwrap().get::<_, String>(0), problem);
    // Its table does not supply the names of auctions to others either.
    let named = client.query_one("select name from webhook_auctions()", &[]).unwrap();
    assert_eq!(named.get::<_, Option<String>>(0), None);

    // The tables count once mallory owns the database or has grant_application().
    client.batch_execute("alter database postgres owner to mallory").unwrap();
    assert_eq!((access_problem(client), endpoints_of(&application.cluster)), (None, 1));
    client.batch_execute("alter database postgres owner to postgres").unwrap();
    assert_eq!(endpoints_of(&application.cluster), 0);
    client.batch_execute("select webhook_delivery.grant_application('mallory')").unwrap();
    assert_eq!((access_problem(client), endpoints_of(&application.cluster)), (None, 1));
}

#[test]
fn supabase_has_no_access_problem() {
    let mut supabase = Supabase::start(&[]);
    assert_eq!(access_problem(&mut supabase.admin), None);
}

/// Policies do not bind a connection pool that acts for tenants as the owner of the tables.
#[test]
fn access_function_with_bypassed_policies_is_reported() {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let client = &mut application.client;
    client
        .batch_execute(
            "create role app login; select webhook_delivery.grant_api('app'), webhook_delivery.grant_application('app');
             grant create on schema public to app; set role app;
             create table public.memberships (auction_id uuid, user_name text);
             alter table public.memberships enable row level security;
             create policy own on public.memberships using (user_name = current_setting('app.user', true));
             create function public.my_auctions() returns setof uuid language sql stable as 'select auction_id from public.memberships';
             reset role;
             alter database postgres set webhook_delivery.access_function = 'public.my_auctions'",
        )
        .unwrap();
    let mut client = application.cluster.connect();
    let problem = access_problem(&mut client).unwrap();
    assert!(problem.contains("public.memberships") || problem.contains("reads memberships"), "{problem}");
    assert!(problem.contains("owner app"), "{problem}");
    // Each remedy that the message names removes the problem.
    client.batch_execute("alter table public.memberships force row level security").unwrap();
    assert_eq!(access_problem(&mut client), None);
    client.batch_execute("alter table public.memberships no force row level security; revoke all on public.webhook_endpoints from app").unwrap();
    assert_eq!(access_problem(&mut client), None);
    client.batch_execute("alter database postgres set webhook_delivery.access_function = 'public.no_such'").unwrap();
    let mut client = application.cluster.connect();
    let problem = access_problem(&mut client).unwrap();
    assert!(
        problem.contains("Function public.no_such of webhook_delivery.access_function does not exist"),
        "{problem}"
    );
}
