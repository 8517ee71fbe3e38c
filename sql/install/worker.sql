-- The worker's role and its privileges.

create function webhook_delivery.grant_worker(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not (select role.rolbypassrls or role.rolsuper from pg_roles as role where role.oid = grantee) then
        raise exception using
            errcode = 'invalid_grant_operation',
            message = format('role %s must have BYPASSRLS', grantee),
            hint = format('Run: alter role %s bypassrls. Otherwise row-level security hides every delivery from it. It reads only what is granted to it.', grantee);
    end if;
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, update, delete on webhook_delivery.queue to %s', grantee);
    execute format('grant select, insert, update, delete on webhook_delivery.parked_counts to %s', grantee);
    execute format('grant insert on webhook_delivery.attempts to %s', grantee);
    execute format('grant select, insert, delete on webhook_delivery.slow_endpoints to %s', grantee);
    execute format('grant select on webhook_delivery.events, webhook_delivery.endpoint_targets, webhook_delivery.send_state to %s', grantee);
    execute format('grant select on webhook_delivery.endpoint_health to %s', grantee);
    execute format('grant select (id, recaptures_left), update (recaptures_left) on webhook_delivery.capture_errors to %s', grantee);
    execute format('grant execute on function
        webhook_delivery.notify_failed_deliveries(uuid[], uuid[], uuid[], text[], smallint[], smallint[], text[], timestamptz[]),
        webhook_delivery.record_endpoint_health(uuid[], boolean[], timestamptz[], integer[], boolean[], text[], integer, interval) to %s', grantee);
    execute format('grant execute on function webhook_delivery.uuid_v7_time(uuid),
        webhook_delivery.next_attempt_at(timestamptz, timestamptz, public.webhook_error_kind), webhook_delivery.create_partitions(integer), webhook_delivery.drop_expired(),
        webhook_delivery.recapture(bigint),
        webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id() to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_worker(regrole) is
    'Grants the role that webhook_delivery.role names the privileges that the worker needs. Raises 0LP01 for a role without BYPASSRLS';

create function webhook_delivery.create_worker_role() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    named constant name := current_setting('webhook_delivery.role');
begin
    if not exists (select from pg_roles where rolname = named) then
        begin
            execute format('create role %I nologin bypassrls', named);
        exception when duplicate_object or unique_violation then
            -- A session in another database of the server has just created it.
            null;
        end;
    end if;
    perform webhook_delivery.grant_worker((select oid from pg_roles where rolname = named));
end
$$;

comment on function webhook_delivery.create_worker_role() is
    'Creates the role that webhook_delivery.role names, if it does not exist, and grants it the privileges that the worker needs';
