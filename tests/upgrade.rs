//! Does a database that was filled with the version before become one like a fresh install, with all that was queued delivered?

use std::collections::BTreeSet;
use std::fs;
use std::sync::Once;

use postgres::Client;
use webhook_harness::verify::assert_signed;
use webhook_harness::{
    Cluster, DEADLINE, Receiver, Submission, application, installation, refusal, sample, tenant, wait_until,
};

const UPDATE: &str = "alter extension webhook_delivery update";

/// Puts the script of the version before where the server looks for it, as it is on a server that had that version.
fn with_version_before(settings: &[(&str, &str)]) -> (Cluster, Client) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let path = installation().share_dir().join("extension/webhook_delivery--0.1.0.sql");
        fs::write(path, include_str!("upgrade/webhook_delivery--0.1.0.sql")).unwrap();
    });
    let cluster = Cluster::start(settings);
    let client = cluster.connect();
    (cluster, client)
}

/// What there is of the extension, one line for each property of each object.
fn inventory(client: &mut Client) -> BTreeSet<String> {
    let members = "create temporary view member as
        select classid, objid, known.type, known.identity
        from pg_depend cross join lateral pg_identify_object(classid, objid, 0) as known
        where deptype = 'e' and refclassid = 'pg_extension'::regclass
            and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')";
    client.batch_execute(members).unwrap();
    let queries = [
        "select concat_ws(' ', type, identity) from member",
        // Functions with all that they are, without where a C function's file is.
        "select concat_ws(' ', identity, replace(pg_get_functiondef(objid), chr(10), ' '), proowner::regrole)
            from member join pg_proc on pg_proc.oid = objid where classid = 'pg_proc'::regclass",
        "select concat_ws(' ', identity, pg_get_viewdef(objid), reloptions, relrowsecurity)
            from member join pg_class on pg_class.oid = objid where classid = 'pg_class'::regclass and relkind = 'v'",
        "select concat_ws(' ', identity, relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions, pg_get_expr(relpartbound, objid))
            from member join pg_class on pg_class.oid = objid where classid = 'pg_class'::regclass and relkind <> 'v'",
        "select concat_ws(' ', identity, attnum, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attgenerated, attacl)
            from member join pg_attribute on attrelid = objid left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where classid = 'pg_class'::regclass and attnum > 0 and not attisdropped",
        "select concat_ws(' ', identity, conname, replace(pg_get_constraintdef(pg_constraint.oid), ' NOT VALID', ''))
            from member join pg_constraint on conrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', identity, pg_get_indexdef(indexrelid))
            from member join pg_index on indrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', identity, pg_get_triggerdef(pg_trigger.oid), tgenabled)
            from member join pg_trigger on tgrelid = objid where classid = 'pg_class'::regclass and not tgisinternal",
        "select concat_ws(' ', identity, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), polroles::regrole[])
            from member join pg_policy on polrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', 'policy', polrelid::regclass, polname, description) from pg_policy join pg_description on objoid = pg_policy.oid and classoid = 'pg_policy'::regclass",
        "select concat_ws(' ', identity, objsubid, description)
            from member join pg_description on objoid = objid and classoid = classid",
        "select concat_ws(' ', identity, grantee::regrole, privilege_type, is_grantable)
            from member join pg_class on pg_class.oid = objid, aclexplode(relacl) where classid = 'pg_class'::regclass and grantee <> relowner",
        "select concat_ws(' ', identity, grantee::regrole, privilege_type, is_grantable)
            from member join pg_proc on pg_proc.oid = objid, aclexplode(coalesce(proacl, acldefault('f', proowner))) where classid = 'pg_proc'::regclass",
        "select concat_ws(' ', 'dumped', config::regclass, condition)
            from pg_extension, unnest(extconfig, extcondition) as known (config, condition) where extname = 'webhook_delivery'",
        "select concat_ws(' ', 'event type', event_type, description, schema, example) from public.webhook_event_types",
        "select concat_ws(' ', 'version', extversion) from pg_extension where extname = 'webhook_delivery'",
    ];
    let mut found = BTreeSet::new();
    for query in queries {
        let rows = client.query(query, &[]).unwrap_or_else(|e| panic!("{query}: {:?}", e.as_db_error()));
        found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    found
}

const ROLES: &str = "create role authenticated; create role service_role bypassrls; create role anon;
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on functions to anon, authenticated, service_role";

#[test]
fn an_updated_database_is_like_a_fresh_one() {
    let (cluster, mut updated) = with_version_before(&[("webhook_delivery.databases", "")]);
    updated.batch_execute(ROLES).unwrap();
    updated.batch_execute("create extension webhook_delivery version '0.1.0'").unwrap();
    // Also where the worker has made partitions.
    updated.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    updated.batch_execute(UPDATE).unwrap();
    updated.batch_execute("create database fresh").unwrap();
    let mut fresh = cluster.connect_to("fresh");
    fresh
        .batch_execute(
            &ROLES.replace("create role authenticated; create role service_role bypassrls; create role anon;", ""),
        )
        .unwrap();
    fresh.batch_execute("create extension webhook_delivery").unwrap();
    let (updated, fresh) = (inventory(&mut updated), inventory(&mut fresh));
    let missing: Vec<_> = fresh.difference(&updated).collect();
    let left_over: Vec<_> = updated.difference(&fresh).collect();
    assert!(missing.is_empty() && left_over.is_empty(), "missing: {missing:#?}\nleft over: {left_over:#?}");
    assert!(fresh.len() > 900, "{}", fresh.len());
}

#[test]
fn what_was_queued_and_delivered_before_is_delivered_and_shown_after_the_update() {
    let receiver = Receiver::by_path();
    let (cluster, mut client) = with_version_before(&[("webhook_delivery.retry_schedule", "1h")]);
    client.batch_execute("create extension webhook_delivery version '0.1.0'").unwrap();
    application::install_tables(&mut client);
    client.batch_execute("select webhook_delivery.install_triggers()").unwrap();
    tenant::create_roles(&mut client);
    // The worker of this version does not touch what the one before has made, and says so.
    let state = "select from webhook_delivery.status where state = 'waiting' and hint ilike '%alter extension webhook_delivery update%'";
    wait_until("the worker to wait for the update", DEADLINE, || client.query_opt(state, &[]).unwrap());
    client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    let endpoint = application::endpoint(&mut client, sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let submission = Submission::of_riverside().insert(&mut client);
    client.batch_execute(PAST).unwrap();
    assert_eq!(receiver.count(), 0);

    client.batch_execute(UPDATE).unwrap();
    endpoint.wait_for(&mut client, 2, "success");
    let requests = receiver.wait_for(1, DEADLINE);
    assert_eq!(requests[0].json()["data"]["id"], submission.to_string());
    assert_signed(&endpoint.secret, &requests);
    // What tenants could do they can, and what is new as well; of what was delivered before, too.
    let mut admin = tenant::session_of(&cluster, "tenant", sample::DANA);
    let before: uuid::Uuid =
        admin.query_one("select id from webhook_deliveries order by id limit 1", &[]).unwrap().get(0);
    admin.execute("select redeliver_webhook($1)", &[&before]).unwrap();
    receiver.wait_for(2, DEADLINE);
    endpoint.wait_for(&mut client, 2, "success");
    assert_eq!(refusal(&mut admin, "select address from webhook_delivery.attempts", &[]).code().code(), "42501");
    let health: f64 = admin.query_one("select success_rate_24h from webhook_endpoint_health", &[]).unwrap().get(0);
    assert_eq!(health, 1.0);
    Submission::of_riverside().insert(&mut client);
    endpoint.wait_for(&mut client, 3, "success");
    // A backup of it is restored, with the partitions of before.
    cluster.copy_database("copy", &[]);
    let deliveries = "select count(*) from webhook_deliveries";
    assert_eq!(cluster.connect_to("copy").query_one(deliveries, &[]).unwrap().get::<_, i64>(0), 3);
}

#[test]
fn update_rewrites_the_hints_of_secrets_and_changes_nothing_else_of_endpoints() {
    let (_cluster, mut client) = with_version_before(&[("webhook_delivery.databases", "")]);
    client.batch_execute("create extension webhook_delivery version '0.1.0'").unwrap();
    let endpoint = application::endpoint(&mut client, sample::RIVERSIDE, "https://example.com/", &["*"]);
    let rest = "select (to_jsonb(endpoint) - 'secret')::text from webhook_endpoints as endpoint";
    let before: String = client.query_one(rest, &[]).unwrap().get(0);
    client.batch_execute(UPDATE).unwrap();
    let hint = format!("...{}", &endpoint.secret[endpoint.secret.len() - 4..]);
    let read = |client: &mut Client| {
        let sql = "select endpoint.secret, stored.secret from webhook_endpoints as endpoint, webhook_delivery.endpoint_secrets as stored";
        let row = client.query_one(sql, &[]).unwrap();
        (row.get::<_, String>(0), row.get::<_, String>(1))
    };
    assert_eq!(read(&mut client), (hint.clone(), endpoint.secret.clone()));
    assert_eq!(client.query_one(rest, &[]).unwrap().get::<_, String>(0), before);
    // To write the hint back is no new secret.
    client.execute("update webhook_endpoints set secret = $1", &[&hint]).unwrap();
    assert_eq!(read(&mut client), (hint, endpoint.secret));
}

/// A delivery that has succeeded, in the tables of the version before.
const PAST: &str = "with event as (
        insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
        select webhook_delivery.uuid_v7_floor(now() - interval '1 hour'), auction_id, 'submission.created', now(), '{}' from webhook_endpoints
        returning *
    )
    insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status,
        response_status_code, response_time_ms, attempted_at, created_at)
    select event.id, 1, event.auction_id, endpoint.id, event.id, event.event_type, 'success', 200, 1, now(), now() - interval '1 hour'
    from event, webhook_endpoints as endpoint";
