-- What may which role do? Nothing, unless it is said here. And what is left to do once everything is there.

create function webhook_delivery.grant_api(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, insert, update, delete on @extschema@.webhook_endpoints to %s', grantee);
    execute format('grant select on @extschema@.webhook_event_types, @extschema@.webhook_deliveries, @extschema@.webhook_delivery_attempts to %s', grantee);
    execute format('grant execute on function @extschema@.test_webhook(uuid, text) to %s', grantee);
    execute format('grant execute on function webhook_delivery.has_access(uuid), webhook_delivery.is_operator(), webhook_delivery.is_auction_admin(uuid), webhook_delivery.uuid_v7() to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_api(regrole) is
    'Grants a role the tenants'' interface: endpoints, catalogue, history, test_webhook(). Row-level security still decides which rows';

-- Supabase's default privileges have given anon and authenticated everything on what we just created in an exposed schema.
revoke all on all functions in schema webhook_delivery from public;
revoke all on all tables in schema webhook_delivery from public;
revoke all on function @extschema@.test_webhook(uuid, text) from public;
do $$
declare
    grantee name;
begin
    for grantee in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role') loop
        execute pg_catalog.format('revoke all on @extschema@.webhook_endpoints, @extschema@.webhook_event_types, @extschema@.webhook_deliveries, @extschema@.webhook_delivery_attempts from %I', grantee);
        execute pg_catalog.format('revoke all on function @extschema@.test_webhook(uuid, text) from %I', grantee);
        if grantee <> 'anon' then
            perform webhook_delivery.grant_api(pg_catalog.quote_ident(grantee)::pg_catalog.regrole);
        end if;
    end loop;
end
$$;

-- The first days' partitions. Like those that the worker makes they are no members of the extension: pg_dump carries them
-- as they are, with their rows.
select webhook_delivery.create_partitions();
do $$
declare
    partition regclass;
begin
    for partition in
        select inhrelid from pg_catalog.pg_inherits
        where inhparent in ('webhook_delivery.events'::regclass, 'webhook_delivery.attempts'::regclass)
            and inhrelid not in ('webhook_delivery.events_default'::regclass, 'webhook_delivery.attempts_default'::regclass)
    loop
        execute pg_catalog.format('alter extension webhook_delivery drop table %s', partition);
    end loop;
end
$$;

-- A worker that waits for the extension need not wait until it looks again.
select webhook_delivery.wake('-infinity');
