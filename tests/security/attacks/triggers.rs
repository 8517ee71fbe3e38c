//! No role can attach code to the extension's tables that runs with their owner's rights.

use postgres::Client;
use webhook_harness::{Application, refusal, sample, tenant};

/// Every table and view of the extension, with the kind of the relation.
const RELATIONS: &str = "select pg_class.oid::regclass::text, relkind::text from pg_class
    where relkind in ('r', 'p', 'v') and (relnamespace = 'webhook_delivery'::regnamespace or pg_class.oid in (
        select objid from pg_depend where classid = 'pg_class'::regclass and deptype = 'e'
            and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')))
    order by 1";

/// Creates a role with everything that `grant all on all tables` grants, and a trigger function
/// that would make the role a superuser.
const ROLE: &str = "create role my_app login;
    grant usage, create on schema public to my_app; grant usage on schema webhook_delivery to my_app;
    grant all on all tables in schema public to my_app; grant all on all tables in schema webhook_delivery to my_app;
    select webhook_delivery.grant_application('my_app');
    set role my_app;
    create function rise() returns trigger language plpgsql as $$ begin alter role my_app superuser; return new; end $$;
    reset role;";

fn relations(client: &mut Client) -> Vec<(String, String)> {
    client.query(RELATIONS, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn role_with_every_privilege_attaches_no_trigger_to_any_table() {
    let mut application = Application::start(&[]);
    application.client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    application.client.batch_execute(ROLE).unwrap();
    let mut my_app = application.cluster.connect_as("my_app", "postgres");
    let relations = relations(&mut application.client);
    assert!(relations.len() > 30, "{relations:?}");
    for (relation, kind) in &relations {
        let timings: &[&str] = match kind.as_str() {
            "v" => &["instead of insert on {} for each row", "before update on {} for each statement"],
            _ => &[
                "before insert or update or delete on {} for each row",
                "after insert on {} for each row",
                "before truncate on {} for each statement",
                "after update on {} for each statement",
            ],
        };
        for timing in timings {
            for function in ["public.rise()", "webhook_delivery.capture_row_change('submission.created', 'id')"] {
                let sql = format!("create trigger mine {} execute function {function}", timing.replace("{}", relation));
                let error = refusal(&mut my_app, &sql, &[]);
                assert_eq!(error.code().code(), "42501", "{sql}: {error}");
                assert!(error.hint().is_some(), "{sql}: {error}");
            }
        }
        let constraint = format!(
            "create constraint trigger mine after insert on {relation} deferrable for each row execute function public.rise()"
        );
        if kind == "r" {
            assert_eq!(refusal(&mut my_app, &constraint, &[]).code().code(), "42501", "{constraint}");
        }
        for owned in [
            "create rule mine as on insert to {} do also select 1",
            "alter table {} alter column created_at set default now()",
        ] {
            let sql = owned.replace("{}", relation);
            assert_eq!(refusal(&mut my_app, &sql, &[]).code().code(), "42501", "{sql}");
        }
    }
    my_app
        .batch_execute("select webhook_delivery.register_event_type('order.created', 'An order', 'true', '{}')")
        .unwrap();
    let risen = "select count(*) from pg_roles where rolname = 'my_app' and rolsuper";
    assert_eq!(application.count(risen), 0);
    // BYPASSRLS, which Supabase's service_role has, does not give the owner's rights.
    application.client.batch_execute("alter role my_app bypassrls").unwrap();
    for table in ["webhook_event_types", "webhook_endpoints"] {
        let sql = format!("create trigger mine before insert on {table} for each row execute function public.rise()");
        assert_eq!(refusal(&mut my_app, &sql, &[]).code().code(), "42501");
    }
    // The role can attach triggers to its own tables, and the extension's owner to all tables.
    my_app
        .batch_execute(
            "create table mine (); create trigger mine after insert on mine for each row execute function rise()",
        )
        .unwrap();
    application
        .client
        .batch_execute("create trigger audit after insert on webhook_endpoints for each row execute function rise(); drop trigger audit on webhook_endpoints")
        .unwrap();
}

#[test]
fn tenant_with_every_privilege_attaches_no_pg_temp_trigger() {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    application
        .client
        .batch_execute(
            "grant all on all tables in schema public to tenant; grant temporary on database postgres to tenant",
        )
        .unwrap();
    let mut tenant = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    tenant
        .batch_execute("create function pg_temp.rise() returns trigger language plpgsql as $$ begin alter role tenant superuser; return new; end $$")
        .unwrap();
    for table in ["webhook_event_types", "webhook_endpoints"] {
        let sql = format!(
            "create trigger mine before insert or update on {table} for each row execute function pg_temp.rise()"
        );
        assert_eq!(refusal(&mut tenant, &sql, &[]).code().code(), "42501");
    }
}

/// A superuser who reads a view runs the function behind it as the function's owner.
#[test]
fn function_in_a_view_read_by_superuser_attaches_no_trigger() {
    let mut application = Application::start(&[]);
    application.client.batch_execute(ROLE).unwrap();
    application
        .client
        .batch_execute(
            "set role my_app;
             create function attach() returns integer language plpgsql security definer as
                 $$ begin create trigger mine before insert on public.webhook_event_types for each row execute function public.rise(); return 1; end $$;
             create view bait as select attach();
             reset role",
        )
        .unwrap();
    assert_eq!(refusal(&mut application.client, "select * from bait", &[]).code().code(), "42501");
}
