//! Access: a session sees and changes only the webhooks of the auctions that it administers.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, Endpoint, Receiver, Reply, Supabase, refusal, sample, tenant};

mod definer_functions;

use definer_functions::*;

/// Runs each test on a plain server and on one with Supabase's roles and privileges.
macro_rules! on_plain_and_supabase {
    ($($test:ident)*) => {
        mod plain {
            $(#[test] fn $test() { super::$test(super::World::Plain) })*
        }
        mod supabase {
            $(#[test] fn $test() { super::$test(super::World::Supabase) })*
        }
    };
}

on_plain_and_supabase! {
    admin_reads_and_changes_only_its_own_auction
    admin_with_all_privileges_is_confined_to_its_own_auction
    tenant_granted_all_changes_neither_history_nor_event_types
    tenant_granted_all_truncates_no_rows_of_other_auctions
    user_who_administers_nothing_sees_and_changes_nothing
    access_function_setting_decides_which_auctions_are_visible
    access_function_is_called_once_per_table_not_per_row
    operators_see_every_auction_even_after_set_role
    access_function_runs_with_the_callers_row_level_security
    read_only_transaction_can_read_everything
    test_webhook_in_a_read_only_transaction_queues_nothing
    built_in_access_check_reads_members_as_their_owner
    definer_function_whose_owner_bypasses_policies_creates_endpoints
    endpoints_of_a_superuser_acting_as_a_tenant_are_validated
}

/// Which roles the server has.
#[derive(Clone, Copy)]
enum World {
    /// Only the roles that the test creates.
    Plain,
    /// Supabase's roles and default privileges.
    Supabase,
}

/// Two auctions with an endpoint and a delivery each.
struct Scene {
    world: World,
    /// The client is a session of a superuser.
    application: Application,
    /// Keeps the endpoints' address in use.
    _receiver: Receiver,
    riverside: Endpoint,
    hilltop: Endpoint,
}

impl Scene {
    fn new(world: World, settings: &[(&str, &str)]) -> Scene {
        let receiver = Receiver::start(|_| Reply::ok());
        let mut application = match world {
            World::Plain => {
                let mut application = Application::start(settings);
                tenant::create_roles(&mut application.client);
                application
            }
            World::Supabase => {
                let Supabase { admin, cluster } = Supabase::start(settings);
                Application { client: admin, cluster }
            }
        };
        let riverside = application.endpoint(sample::RIVERSIDE, &receiver.url("/riverside"), &["*"]);
        let hilltop = application.endpoint(sample::HILLTOP, &receiver.url("/hilltop"), &["*"]);
        for endpoint in [&riverside, &hilltop] {
            endpoint.emit(&mut application.client, 1);
            endpoint.wait_for(&mut application.client, 1, "success");
        }
        Scene { world, application, _receiver: receiver, riverside, hilltop }
    }

    /// The role that PostgREST sets for a user of the application.
    fn tenant(&self) -> &'static str {
        match self.world {
            World::Plain => "tenant",
            World::Supabase => "authenticated",
        }
    }

    /// Runs SQL as superuser. `<tenant>` stands for the name of the tenant's role.
    #[track_caller]
    fn run(&mut self, sql: &str) {
        let sql = sql.replace("<tenant>", self.tenant());
        self.application.client.batch_execute(&sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }

    /// Another session of a superuser.
    fn superuser(&self) -> Client {
        let name = match self.world {
            World::Plain => "postgres",
            World::Supabase => "supabase_admin",
        };
        self.application.cluster.connect_as(name, "postgres")
    }

    fn session(&self, claims: &str) -> Client {
        tenant::session(&self.application.cluster, self.tenant(), claims)
    }

    fn session_of(&self, user: Uuid) -> Client {
        tenant::session_of(&self.application.cluster, self.tenant(), user)
    }

    fn grant_all(&mut self) {
        self.run("grant all on all tables in schema public to <tenant>");
    }
}

/// The auctions of which a session sees rows, for each relation.
#[track_caller]
fn auctions_seen(client: &mut Client) -> Vec<Vec<Uuid>> {
    let relations = ["webhook_endpoints", "webhook_deliveries", "webhook_delivery_attempts"];
    let seen = |relation| {
        let query = format!("select distinct auction_id from {relation} order by 1");
        let rows = client.query(&query, &[]).unwrap_or_else(|e| panic!("{relation}: {:?}", e.as_db_error()));
        rows.iter().map(|row| row.get(0)).collect()
    };
    relations.map(seen).into()
}

const INSERT: &str = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}') returning id, generated_secret(webhook_endpoints)";

/// Asserts that an admin of Riverside can change Riverside's endpoints and no others.
fn assert_confined_to_riverside(scene: &Scene, client: &mut Client) {
    assert_eq!(auctions_seen(client), vec![vec![sample::RIVERSIDE]; 3]);
    // The admin creates, changes and deletes endpoints of Riverside.
    let made = client.query_one(INSERT, &[&sample::RIVERSIDE]).unwrap();
    assert!(made.get::<_, String>(1).starts_with("whsec_"));
    let id: Uuid = made.get(0);
    let change = "update webhook_endpoints set url = 'https://example.com/new', events = '{submission.created}', secret = 'a secret of my own' where id = $1";
    assert_eq!(client.execute(change, &[&id]).unwrap(), 1);
    assert_eq!(client.execute("delete from webhook_endpoints where id = $1", &[&id]).unwrap(), 1);
    // Endpoints of other auctions do not exist for this admin.
    assert_eq!(refusal(client, INSERT, &[&sample::HILLTOP]).code().code(), "42501");
    let own = &scene.riverside.id;
    let others = &scene.hilltop.id;
    for statement in
        ["update webhook_endpoints set is_active = false where id = $1", "delete from webhook_endpoints where id = $1"]
    {
        assert_eq!(client.execute(statement, &[others]).unwrap(), 0, "{statement}");
    }
    refusal(client, "update webhook_endpoints set auction_id = $2 where id = $1", &[own, &sample::HILLTOP]);
    let take_over = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/', '{*}', 'taken over by me')
        on conflict (id) do update set secret = excluded.secret, url = excluded.url";
    assert_eq!(refusal(client, take_over, &[others, &sample::RIVERSIDE]).code().code(), "22023");
    let nothing = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, 'https://example.com/', '{*}', 'taken over by me')
        on conflict (id) do nothing";
    let _ = client.execute(nothing, &[others, &sample::RIVERSIDE]);
    let test = "select test_webhook(endpoint_id => $1, event_type => 'submission.created')";
    client.execute(test, &[own]).unwrap();
    assert_eq!(refusal(client, test, &[others]).code().code(), "PT404");
}

/// Asserts that Hilltop's endpoint and history are unchanged.
fn assert_hilltop_untouched(scene: &mut Scene) {
    let client = &mut scene.application.client;
    let query = "select events = '{*}' and is_active and stored.secret = $2 from webhook_endpoints as endpoint
        join webhook_delivery.endpoint_secrets as stored on stored.endpoint_id = endpoint.id where endpoint.id = $1";
    let row = client.query_one(query, &[&scene.hilltop.id, &scene.hilltop.secret]).unwrap();
    assert!(row.get::<_, bool>(0));
    assert_eq!(scene.hilltop.deliveries(client).len(), 1);
}

fn admin_reads_and_changes_only_its_own_auction(world: World) {
    let mut scene = Scene::new(world, &[]);
    let mut dana = scene.session_of(sample::DANA);
    assert_confined_to_riverside(&scene, &mut dana);
    assert_hilltop_untouched(&mut scene);
    assert_eq!(auctions_seen(&mut scene.session_of(sample::KIM)), vec![vec![sample::HILLTOP]; 3]);
}

fn admin_with_all_privileges_is_confined_to_its_own_auction(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.grant_all();
    let mut dana = scene.session_of(sample::DANA);
    assert_confined_to_riverside(&scene, &mut dana);
    assert_hilltop_untouched(&mut scene);
}

fn tenant_granted_all_changes_neither_history_nor_event_types(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.grant_all();
    let snapshot = "select md5(string_agg(content::text, ',' order by content::text)) from (
        select to_jsonb(made) from webhook_delivery.attempts as made union all select to_jsonb(known) from webhook_event_types as known) as content";
    let history = |scene: &mut Scene| scene.application.client.query_one(snapshot, &[]).unwrap().get::<_, String>(0);
    let before = history(&mut scene);
    let mut dana = scene.session_of(sample::DANA);
    for statement in [
        "delete from webhook_delivery_attempts",
        "update webhook_delivery_attempts set response_status_code = 500",
        "update webhook_delivery_attempts set auction_id = '00000000-0000-4000-8000-000000000002'",
        "delete from webhook_deliveries",
        "delete from webhook_event_types",
        "update webhook_event_types set example = '{}'",
        "insert into webhook_event_types (event_type, description, example) values ('mine.made', 'Mine', '{}')",
    ] {
        let _ = dana.execute(statement, &[]);
        assert_eq!(history(&mut scene), before, "{statement}");
    }
}

fn tenant_granted_all_truncates_no_rows_of_other_auctions(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.grant_all();
    let mut dana = scene.session_of(sample::DANA);
    for statement in
        ["truncate webhook_endpoints cascade", "truncate webhook_endpoints", "truncate webhook_event_types"]
    {
        let _ = dana.batch_execute(statement);
        assert_hilltop_untouched(&mut scene);
        assert_eq!(scene.application.count("select count(*) from webhook_event_types"), 21, "{statement}");
    }
}

fn user_who_administers_nothing_sees_and_changes_nothing(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.grant_all();
    let member = format!("{{\"sub\": \"{}\"}}", sample::SAM);
    for claims in [member.as_str(), "", "{}", "null", "{\"sub\": null}", "{\"sub\": \"\"}", "{\"sub\": 7}", "[]"] {
        let mut user = scene.session(claims);
        assert_eq!(auctions_seen(&mut user), vec![Vec::<Uuid>::new(); 3], "{claims}");
        for auction in [sample::RIVERSIDE, sample::HILLTOP] {
            assert_eq!(refusal(&mut user, INSERT, &[&auction]).code().code(), "42501", "{claims}");
        }
        for statement in ["update webhook_endpoints set is_active = false", "delete from webhook_endpoints"] {
            assert_eq!(user.execute(statement, &[]).unwrap(), 0, "{claims}: {statement}");
        }
        let test = "select test_webhook($1, 'submission.created')";
        assert_eq!(refusal(&mut user, test, &[&scene.riverside.id]).code().code(), "PT404", "{claims}");
    }
    assert_hilltop_untouched(&mut scene);
    let mut without_claims = scene.application.cluster.connect_as("authenticator", "postgres");
    without_claims.batch_execute(&format!("set role {}", scene.tenant())).unwrap();
    assert_eq!(auctions_seen(&mut without_claims), vec![Vec::<Uuid>::new(); 3]);
}

fn access_function_setting_decides_which_auctions_are_visible(world: World) {
    let mut scene = Scene::new(world, &[("webhook_delivery.access_function", "public.my_auctions")]);
    let my_auctions = format!(
        "create function public.my_auctions() returns setof uuid language sql stable
         return case when current_setting('request.jwt.claims') <> 'unknown' then '{}'::uuid end",
        sample::HILLTOP
    );
    scene.run(&my_auctions);
    // Sam administers no auction, but the application's function ignores membership.
    let mut sam = scene.session_of(sample::SAM);
    assert_eq!(auctions_seen(&mut sam), vec![vec![sample::HILLTOP]; 3]);
    sam.execute("select test_webhook($1, 'submission.created')", &[&scene.hilltop.id]).unwrap();
    assert_eq!(refusal(&mut sam, INSERT, &[&sample::RIVERSIDE]).code().code(), "42501");
    // A null in the result gives access to no auction.
    assert_eq!(auctions_seen(&mut scene.session("unknown")), vec![Vec::<Uuid>::new(); 3]);
    let another = "drop function public.my_auctions; create function public.my_auctions() returns boolean language sql return true";
    for without_it in [another, "drop function public.my_auctions"] {
        scene.run(without_it);
        let error = refusal(&mut sam, "select * from webhook_endpoints", &[]);
        assert_eq!(error.code().code(), "42883");
        assert!(error.hint().unwrap_or_default().contains("() returns setof uuid"), "{error:?}");
    }
}

fn access_function_is_called_once_per_table_not_per_row(world: World) {
    let mut scene = Scene::new(world, &[("webhook_delivery.access_function", "public.my_auctions")]);
    let counting = format!(
        "create sequence public.asked; grant usage on public.asked to <tenant>;
         create function public.my_auctions() returns setof uuid language sql volatile
         as $$ select '{}'::uuid from nextval('public.asked') $$",
        sample::RIVERSIDE
    );
    scene.run(&counting);
    scene.riverside.emit(&mut scene.application.client, 50);
    scene.riverside.wait_for(&mut scene.application.client, 51, "success");
    let mut dana = scene.session_of(sample::DANA);
    for (relation, tables) in [("webhook_endpoints", 1), ("webhook_deliveries", 2), ("webhook_delivery_attempts", 1)] {
        scene.run("select setval('public.asked', 1)");
        dana.query(&format!("select * from {relation}"), &[]).unwrap();
        let asked = scene.application.count("select last_value - 1 from public.asked");
        assert!((1..=tables).contains(&asked), "{relation}: {asked}");
    }
}

fn operators_see_every_auction_even_after_set_role(world: World) {
    let mut scene = Scene::new(world, &[]);
    let both = vec![vec![sample::RIVERSIDE, sample::HILLTOP]; 3];
    assert_eq!(auctions_seen(&mut scene.application.client), both);
    scene.run("create role service nologin bypassrls; grant service to authenticator; grant usage on schema public to service;
             select webhook_delivery.grant_api('service')");
    let mut service = scene.application.cluster.connect_as("authenticator", "postgres");
    service.batch_execute("set role service").unwrap();
    assert_eq!(auctions_seen(&mut service), both);
    // After SET ROLE to the tenant, a superuser has only the tenant's access.
    let mut superuser = scene.superuser();
    superuser.batch_execute(&format!("set role {}", scene.tenant())).unwrap();
    assert_eq!(auctions_seen(&mut superuser), vec![Vec::<Uuid>::new(); 3]);
}

fn access_function_runs_with_the_callers_row_level_security(world: World) {
    let mut scene = Scene::new(world, &[("webhook_delivery.access_function", "public.seen_auctions")]);
    // Returns every auction that the caller sees. A superuser would see all of them.
    let function = "create function public.seen_auctions() returns setof uuid language sql stable
            as $$ select id from public.auctions $$;
        alter table public.auctions enable row level security;
        grant select on public.auctions to <tenant>;
        create policy own on public.auctions using (name like 'Riverside%')";
    scene.run(function);
    let mut tenant = scene.session("{}");
    assert_eq!(auctions_seen(&mut tenant), vec![vec![sample::RIVERSIDE]; 3]);
    let test = "select test_webhook($1, 'submission.created')";
    tenant.execute(test, &[&scene.riverside.id]).unwrap();
    assert_eq!(refusal(&mut tenant, test, &[&scene.hilltop.id]).code().code(), "PT404");
    let queue = "select webhook_delivery.queue_test($1, 'submission.created')";
    assert_eq!(tenant.query_one(queue, &[&scene.hilltop.id]).unwrap().get::<_, Option<Uuid>>(0), None);
    assert_hilltop_untouched(&mut scene);
}

/// PostgREST answers GET requests in such a transaction.
fn read_only_transaction_can_read_everything(world: World) {
    let scene = Scene::new(world, &[]);
    let mut dana = scene.session_of(sample::DANA);
    dana.batch_execute("begin read only").unwrap();
    assert_eq!(auctions_seen(&mut dana), vec![vec![sample::RIVERSIDE]; 3]);
    let embedded = "select count(*) from webhook_endpoints as endpoint, webhook_deliveries(endpoint) as delivery,
        webhook_delivery_attempts(delivery), webhook_endpoints(delivery)";
    assert_eq!(dana.query_one(embedded, &[]).unwrap().get::<_, i64>(0), 1);
    assert_eq!(dana.query("select * from webhook_event_types", &[]).unwrap().len(), 21);
}

fn test_webhook_in_a_read_only_transaction_queues_nothing(world: World) {
    let mut scene = Scene::new(world, &[]);
    let mut dana = scene.session_of(sample::DANA);
    dana.batch_execute("begin read only").unwrap();
    let error = refusal(&mut dana, "select test_webhook($1, 'submission.created')", &[&scene.riverside.id]);
    assert_eq!(error.code().code(), "25006");
    dana.batch_execute("rollback").unwrap();
    assert_eq!(scene.riverside.deliveries(&mut scene.application.client).len(), 1);
}

fn built_in_access_check_reads_members_as_their_owner(world: World) {
    let mut scene = Scene::new(world, &[]);
    let members = "create role app login; grant create, usage on schema public to app;
        alter table public.auction_members owner to app; select webhook_delivery.grant_application('app');
        set role app;
        create function public.grab() returns text language plpgsql as $$
        begin
            begin execute 'alter role app superuser'; exception when others then null; end;
            begin execute 'reset role'; exception when others then null; end;
            if current_user <> 'app' then raise exception 'ran as %', current_user; end if;
            return 'admin';
        end $$;
        alter table public.auction_members rename to memberships;
        create view public.auction_members as select auction_id, user_id, public.grab() as role from public.memberships;
        reset role";
    scene.run(members);
    let mut dana = scene.session_of(sample::DANA);
    assert_eq!(auctions_seen(&mut dana), vec![vec![sample::RIVERSIDE]; 3]);
    dana.execute("select test_webhook($1, 'submission.created')", &[&scene.riverside.id]).unwrap();
    assert_eq!(scene.application.count("select count(*) from pg_roles where rolname = 'app' and rolsuper"), 0);
}
