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
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest(webhook_delivery.tenant_routines()) as routine);
end
$$;

comment on function webhook_delivery.grant_api(regrole) is
    'Grants a role the tenants'' interface: endpoints, catalogue, history, test_webhook(). Row-level security still decides which rows';

-- Default privileges (Supabase has some, for anon and authenticated) have opened what we just created to others.
revoke all on schema webhook_delivery from public;
revoke all on all routines in schema webhook_delivery from public;
do $$
declare
    opened record;
begin
    for opened in
        select acl.grantee::regrole from pg_catalog.pg_namespace, pg_catalog.aclexplode(nspacl) as acl
        where nspname = 'webhook_delivery' and acl.grantee <> nspowner
    loop
        execute pg_catalog.format('revoke all on schema webhook_delivery from %s', opened.grantee);
    end loop;
    for opened in
        select distinct relation.oid::regclass as object,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_class as relation, pg_catalog.aclexplode(relation.relacl) as acl
        where relation.oid in (
                '@extschema@.webhook_endpoints'::regclass, '@extschema@.webhook_event_types'::regclass,
                '@extschema@.webhook_deliveries'::regclass, '@extschema@.webhook_delivery_attempts'::regclass)
            and acl.grantee <> relation.relowner
    loop
        execute pg_catalog.format('revoke all on table %s from %s', opened.object, opened.grantee);
    end loop;
    for opened in
        select distinct case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_proc as routine, pg_catalog.aclexplode(coalesce(routine.proacl, pg_catalog.acldefault('f', routine.proowner))) as acl
        where routine.oid = '@extschema@.test_webhook(uuid, text)'::regprocedure and acl.grantee <> routine.proowner
    loop
        execute pg_catalog.format('revoke all on function @extschema@.test_webhook(uuid, text) from %s', opened.grantee);
    end loop;
    for opened in
        select distinct case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee, routine.oid::regprocedure as object
        from pg_catalog.pg_proc as routine, pg_catalog.aclexplode(routine.proacl) as acl
        where routine.oid = any (webhook_delivery.tenant_routines()) and acl.grantee <> routine.proowner
    loop
        execute pg_catalog.format('revoke all on function %s from %s', opened.object, opened.grantee);
    end loop;
    perform webhook_delivery.revoke_default_privileges();
    for opened in select oid::regrole as grantee from pg_catalog.pg_roles where rolname in ('authenticated', 'service_role') loop
        perform webhook_delivery.grant_api(opened.grantee);
    end loop;
end
$$;

-- A worker that waits for the extension need not wait until it looks again.
select webhook_delivery.wake('-infinity');

comment on schema webhook_delivery is 'What is private to webhook_delivery: events, queue, attempts, secrets, and the functions that work on them';
comment on function webhook_delivery.uuid_v7() is 'A new time-ordered uuid (version 7, RFC 9562)';
comment on function webhook_delivery.uuid_v7_time(uuid) is 'When a version 7 uuid was made, in milliseconds';
comment on function webhook_delivery.uuid_v7_floor(timestamptz) is 'The lowest version 7 uuid of a moment: the bound of a partition that begins there';
comment on function webhook_delivery.wake(timestamptz) is 'Wakes the worker when this transaction commits; the argument is when the earliest delivery that it queued is due, -infinity to look through all of them again';
comment on function webhook_delivery.note_change() is 'Trigger: notes that the row''s event is to be built when the transaction is complete. Arguments: event type; key column of the row that the event is about; column of its auction (or empty); the event that makes it needless for the same row (or empty)';
comment on function webhook_delivery.capture_again(bigint) is 'Sends the events of a row of capture_errors, with the data that their rows have now, and removes it; what fails again is a new row. Gives back how many events were written: none for rows that are gone or that nobody wants. Unknown id: 02000; a row whose keys are not known: 55000';
comment on function webhook_delivery.normal_url(text) is 'The normal form of an endpoint''s URL; refuses (22023) what cannot be one';
comment on function webhook_delivery.check_secret(text) is 'Refuses (22023) a secret that is too short, too long, or begins with whsec_ and does not go on in base64';
comment on function webhook_delivery.generate_secret() is 'A new secret: whsec_ and 32 random bytes in base64';
comment on function webhook_delivery.stash_secret(uuid, text, text) is 'Keeps a secret out of the row until it is known that the row is written';
comment on function webhook_delivery.stashed_secret(uuid) is 'The stashed secret of an endpoint, or null';
comment on function webhook_delivery.stashed_row_form(uuid) is 'What stands in the row for the stashed secret, or null';
comment on function webhook_delivery.take_stashed_secret(uuid) is 'Takes the stashed secret of an endpoint out, or null';
comment on function webhook_delivery.forget_stashed_secrets() is 'Forgets all stashed secrets of this session';
