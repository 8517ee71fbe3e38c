//! Privileges: what each role can read and call, with and without grants.

use postgres::Client;
use webhook_harness::{Application, Cluster, Endpoint, Supabase, refusal, sample};

mod lists;

use lists::*;

/// Every relation and function: members of the extension and the worker's partitions.
const RELATIONS: &str = "select oid::regclass::text from pg_class
    where (relnamespace = 'webhook_delivery'::regnamespace or relname like 'webhook%') and relkind in ('r', 'p', 'v', 'S') order by 1";
const FUNCTIONS: &str = "select oid::regprocedure::text from pg_proc
    where pronamespace = 'webhook_delivery'::regnamespace or pronamespace = 'public'::regnamespace and proname ~ 'webhook|generated' order by 1";

#[track_caller]
fn list(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).unwrap_or_else(|e| panic!("{query}\nfailed: {:?}", e.as_db_error()));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The relations that a role can read, as tried by the role, and the functions that it may execute.
fn accessible(superuser: &mut Client, role: &mut Client) -> (Vec<String>, Vec<String>) {
    let name = list(role, "select current_user::text").remove(0);
    let readable = |relation: &String| role.query(&format!("select from {relation} limit 1"), &[]).is_ok();
    let relations = list(superuser, RELATIONS).into_iter().filter(readable).collect();
    // Calls would need arguments for each function. The query checks the privileges on function and
    // schema instead.
    let executable = format!(
        "select function from ({}) as known (function)
         where has_function_privilege('{name}', function::regprocedure, 'execute')
           and has_schema_privilege('{name}', (select pronamespace from pg_proc where oid = function::regprocedure), 'usage') order by 1",
        FUNCTIONS.replace("order by 1", "")
    );
    (relations, list(superuser, &executable))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn sorted(lists: &[&[&str]]) -> Vec<String> {
    let mut all = names(&lists.concat());
    all.sort_unstable();
    all
}

#[test]
fn every_object_is_accessible_only_to_its_listed_roles() {
    let Supabase { mut admin, cluster } = Supabase::without_extension(&[]);
    admin.batch_execute("create role owner_of_tables login; create role stranger login").unwrap();
    admin.batch_execute("create extension webhook_delivery").unwrap();
    admin.batch_execute("select webhook_delivery.grant_application('owner_of_tables')").unwrap();
    let members = |catalogue: &str, of: &str| {
        format!(
            "select object::text from (select {of} from {catalogue} as known join pg_depend on objid = known.oid
             where classid = '{catalogue}'::regclass and deptype = 'e' and refclassid = 'pg_extension'::regclass
                 and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')) as member (object)
             order by object::text collate \"C\""
        )
    };
    let relations = list(&mut admin, &members("pg_class", "known.oid::regclass"));
    let functions = list(&mut admin, &members("pg_proc", "known.oid::regprocedure"));
    assert_eq!(
        relations,
        sorted(&[TENANT_RELATIONS, APPLICATION_RELATIONS, OWNER_RELATIONS]),
        "a relation is missing in the lists"
    );
    assert_eq!(
        functions,
        sorted(&[TENANT_FUNCTIONS, APPLICATION_FUNCTIONS, OWNER_FUNCTIONS]),
        "a function is missing in the lists"
    );

    let nothing: (&[&str], &[&str]) = (&[], &[]);
    for (role, (may_read, may_call)) in [
        ("stranger", nothing),
        ("anon", (&[], &["webhook_admin(text)"])),
        ("authenticated", (TENANT_RELATIONS, TENANT_FUNCTIONS)),
        ("service_role", (TENANT_RELATIONS, TENANT_FUNCTIONS)),
        ("webhook_delivery_worker", (WORKER_RELATIONS, WORKER_FUNCTIONS)),
        ("owner_of_tables", (APPLICATION_RELATIONS, APPLICATION_FUNCTIONS)),
    ] {
        let mut as_role = cluster.connect_as("supabase_admin", "postgres");
        as_role.batch_execute(&format!("set role {role}")).unwrap();
        let readable = |relation: &&String| as_role.query(&format!("select from {relation} limit 1"), &[]).is_ok();
        let readable: Vec<_> = relations.iter().filter(readable).cloned().collect();
        assert_eq!(readable, sorted(&[may_read]), "{role}");
        let callable = |function: &&String| {
            let schema = if function.starts_with("webhook_delivery.") { "webhook_delivery" } else { "public" };
            let may = "select has_function_privilege($1::text, $2::text, 'execute') and has_schema_privilege($1::text, $3::text, 'usage')";
            admin.query_one(may, &[&role, function, &schema]).unwrap().get(0)
        };
        let callable: Vec<_> = functions.iter().filter(callable).cloned().collect();
        assert_eq!(callable, sorted(&[may_call]), "{role}");
    }
}

#[test]
fn supabase_linter_rules_find_nothing() {
    let Supabase { mut admin, cluster: _cluster } = Supabase::start(&[]);
    // Rules 0010, 0013, 0014, 0028 and 0029 of github.com/supabase/splinter, applied to members of
    // an extension as well.
    let findings = "select 'view of its owner: ' || relname from pg_class
            where relkind = 'v' and relnamespace = 'public'::regnamespace and not coalesce('security_invoker=true' = any (reloptions), false)
        union all select 'no row-level security: ' || relname from pg_class
            where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and relname like 'webhook%' and not relrowsecurity
        union all select 'extension in public: ' || extname from pg_extension where extnamespace = 'public'::regnamespace
        union all select 'security definer: ' || pg_proc.oid::regprocedure from pg_proc, unnest('{anon, authenticated}'::text[]) as role
            where prosecdef and has_function_privilege(role, pg_proc.oid, 'execute')";
    assert_eq!(list(&mut admin, findings), [""; 0]);
}

#[test]
fn role_without_grants_can_do_nothing() {
    let mut application = Application::start(&[]);
    application.cluster.wait_for_worker("postgres", None);
    application.client.batch_execute("create role stranger login; grant usage on schema public to stranger").unwrap();
    let mut stranger = application.cluster.connect_as("stranger", "postgres");
    assert!(list(&mut application.client, RELATIONS).len() >= 11);
    assert!(list(&mut application.client, FUNCTIONS).len() >= 25);
    assert_eq!(accessible(&mut application.client, &mut stranger), (names(&[]), names(&[])));
    for call in [
        "select webhook_delivery.emit('submission.created', gen_random_uuid(), '{}')",
        "select test_webhook(gen_random_uuid(), 'submission.created')",
        "select webhook_delivery.install_triggers()",
        "select webhook_delivery.grant_api('stranger')",
        "select webhook_delivery.stashed_secret(gen_random_uuid())",
        "insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), 'https://example.com/', '{*}')",
        "insert into webhook_delivery.queue select now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), ''",
        "create trigger mine after insert on webhook_endpoints execute function webhook_delivery.capture_row_change()",
    ] {
        assert_eq!(refusal(&mut stranger, call, &[]).code().code(), "42501", "{call}");
    }
}

#[test]
fn nothing_is_granted_to_public() {
    let (_cluster, mut client) = installed("");
    // A function's default privileges count too: EXECUTE for PUBLIC.
    let granted = "select object || ': ' || privilege_type from (
            select oid::regclass::text, coalesce(relacl, acldefault('r', relowner)) from pg_class
                where relnamespace = 'webhook_delivery'::regnamespace or relname like 'webhook%'
            union all select oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) from pg_proc
                where pronamespace = 'webhook_delivery'::regnamespace or proname = 'test_webhook'
            union all select nspname, coalesce(nspacl, acldefault('n', nspowner)) from pg_namespace where nspname = 'webhook_delivery'
        ) as owned (object, privileges) cross join lateral aclexplode(privileges) where grantee = 0 order by 1";
    assert_eq!(list(&mut client, granted), [""; 0]);
}

/// A server with Supabase's three roles, which runs `before` and then CREATE EXTENSION.
fn installed(before: &str) -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "create role anon login; create role authenticated login; create role service_role login bypassrls;
             grant usage on schema public to anon, authenticated, service_role",
        )
        .unwrap();
    client.batch_execute(before).unwrap();
    client.batch_execute("create extension webhook_delivery").unwrap();
    (cluster, client)
}

/// Asserts that the three roles access only the listed objects, despite default privileges.
fn assert_supabase_roles_access_only_listed_objects(cluster: &Cluster, client: &mut Client) {
    Endpoint::create(client, "http://127.0.0.1:9/").emit(client, 1);
    webhook_harness::wait_until("the worker's partitions", webhook_harness::DEADLINE, || {
        (list(client, "select inhrelid::regclass::text from pg_inherits").len() >= 17).then_some(())
    });
    let mut anon = cluster.connect_as("anon", "postgres");
    assert_eq!(accessible(client, &mut anon), (names(&[]), names(&["webhook_admin(text)"])));
    for role in ["authenticated", "service_role"] {
        let (relations, functions) = accessible(client, &mut cluster.connect_as(role, "postgres"));
        assert_eq!(relations, TENANT_RELATIONS, "{role}");
        assert_eq!(functions, sorted(&[TENANT_FUNCTIONS]), "{role}");
    }
    let mut authenticated = cluster.connect_as("authenticated", "postgres");
    for table in ["webhook_endpoints", "webhook_event_types"] {
        assert_eq!(refusal(&mut authenticated, &format!("truncate {table} cascade"), &[]).code().code(), "42501");
    }
    let catalogue =
        "insert into webhook_event_types (event_type, description, example) values ('mine.made', 'Mine', '{}')";
    assert_eq!(refusal(&mut authenticated, catalogue, &[]).code().code(), "42501");
}

#[test]
fn default_privileges_of_supabase_grant_nothing() {
    let (cluster, mut client) = installed(
        "alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
         alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
         alter default privileges in schema public grant all on sequences to anon, authenticated, service_role",
    );
    assert_supabase_roles_access_only_listed_objects(&cluster, &mut client);
}

#[test]
fn default_privileges_on_all_schemas_grant_nothing() {
    let (cluster, mut client) = installed(
        "alter default privileges grant all on tables to anon, authenticated, service_role;
         alter default privileges grant all on functions to anon, authenticated, service_role;
         alter default privileges grant all on sequences to anon, authenticated, service_role;
         alter default privileges grant all on schemas to anon, authenticated, service_role",
    );
    assert_supabase_roles_access_only_listed_objects(&cluster, &mut client);
}

#[test]
fn tenant_reads_no_secret_in_any_relation() {
    let mut application = Application::start(&[]);
    let everyone_is_admin = "create role tenant login;
        grant usage on schema public to tenant;
        select webhook_delivery.grant_api('tenant');
        grant select on public.auctions to tenant;
        create function public.all_auctions() returns setof uuid language sql as 'select id from public.auctions';
        alter role tenant set webhook_delivery.access_function = 'public.all_auctions'";
    application.client.batch_execute(everyone_is_admin).unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["*"]);
    let mut tenant = application.cluster.connect_as("tenant", "postgres");
    let seen: String =
        tenant.query_one("select secret from webhook_endpoints where id = $1", &[&endpoint.id]).unwrap().get(0);
    assert_eq!(seen, format!("...{}", &endpoint.secret[endpoint.secret.len() - 4..]));
    let (relations, _) = accessible(&mut application.client, &mut tenant);
    assert_eq!(relations, TENANT_RELATIONS);
    for relation in relations {
        let readable = format!(
            "select attname::text from pg_attribute where attrelid = '{relation}'::regclass and attnum > 0 and not attisdropped
                and has_column_privilege(attrelid, attnum, 'select')"
        );
        let columns = list(&mut tenant, &readable).join(", ");
        for row in list(&mut tenant, &format!("select row({columns})::text from {relation}")) {
            assert!(!row.contains(&endpoint.secret), "{relation}: {row}");
        }
    }
    for query in [
        "select secret from webhook_delivery.endpoint_secrets",
        "select secrets from webhook_delivery.endpoint_targets",
        // The addresses that the server connected to are hidden as well.
        "select address from webhook_delivery.attempts",
        "select first_byte_ms from webhook_delivery.attempts_ended",
        "select webhook_delivery.stashed_secret($1)",
        "select webhook_delivery.take_stashed_secret($1)",
        "select webhook_delivery.stashed_is_unknown($1)",
        "select webhook_delivery.take_stashed_signing_key($1)",
        "select webhook_delivery.seal_secret($1, 'hmac', 'a secret')",
        "select webhook_delivery.reencrypt_secrets($1::uuid is null)",
    ] {
        let parameters: &[&(dyn postgres::types::ToSql + Sync)] = &[&endpoint.id];
        let parameters = if query.contains("$1") { parameters } else { &[] };
        assert_eq!(refusal(&mut tenant, query, parameters).code().code(), "42501", "{query}");
    }
}
