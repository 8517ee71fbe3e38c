-- Access: which webhooks a caller may see and change.

create function webhook_delivery.is_operator() returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    -- Both the current role and the session's role must qualify: a tenant's SECURITY DEFINER
    -- function does not see more when a superuser runs it, and a tenant does not see more through a
    -- function that an operator owns.
    select coalesce(pg_catalog.bool_and(pg_catalog.pg_has_role(caller.oid, private.nspowner, 'usage') or caller.rolbypassrls), false)
    from pg_catalog.pg_roles as caller, pg_catalog.pg_namespace as private
    where private.nspname = 'webhook_delivery'
        and caller.rolname in (current_user, coalesce(nullif(pg_catalog.current_setting('role'), 'none')::name, session_user))
    $$;

comment on function webhook_delivery.is_operator() is
    'Whether the current role and the session''s role both have the rights of the extension''s owner or bypass row-level security, and so see every auction';

create function webhook_delivery.speaks_for_every_auction(role oid) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select pg_has_role(role, known.datdba, 'usage') or has_schema_privilege(role, 'webhook_delivery', 'create')
        or has_function_privilege(role, 'webhook_delivery.capture_row_change()', 'execute')
    from pg_database as known where known.datname = current_database()
    $$;

comment on function webhook_delivery.speaks_for_every_auction(oid) is
    'Whether a role has the rights of the owner of the database or of the extension, or the privileges of grant_application(). Tables of such a role decide who administers an auction';

create function webhook_delivery.access_problem() returns text
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    named constant text := current_setting('webhook_delivery.access_function');
    access_function constant regprocedure := to_regprocedure(nullif(named, '') || '()');
    members constant regclass := to_regclass('public.auction_members');
    owner_of_members constant regrole := (select relowner from pg_class where oid = members);
    unbound record;
begin
    if named = '' and members is null then
        return 'Table public.auction_members does not exist and webhook_delivery.access_function is empty: only operators see endpoints.';
    elsif named = '' and not webhook_delivery.speaks_for_every_auction(owner_of_members) then
        return format('public.auction_members belongs to %1$s, which may not decide who administers an auction: only operators see endpoints. '
            'If %1$s is the owner of the application, run: select webhook_delivery.grant_application(%2$L).', owner_of_members, owner_of_members::text);
    elsif named <> '' and access_function is null then
        return format('Function %s of webhook_delivery.access_function does not exist: only operators see endpoints.', named);
    end if;
    -- A function that runs with the caller's rights may rely on policies, which do not apply to the
    -- owner of the table.
    select reader.rolname, read.oid::regclass as table_name into unbound
    from pg_proc as known
    join pg_class as read on read.relrowsecurity and not read.relforcerowsecurity and position(read.relname in known.prosrc) > 0
        and read.relnamespace not in ('pg_catalog'::regnamespace, 'webhook_delivery'::regnamespace)
    join pg_roles as reader on reader.oid = read.relowner
    where known.oid = access_function and not known.prosecdef
        and not reader.rolbypassrls and not has_schema_privilege(reader.oid, 'webhook_delivery', 'create')
        and has_table_privilege(reader.oid, 'public.webhook_endpoints', 'select')
        -- The policies of the extension's own table are not the application's.
        and read.oid <> 'public.webhook_endpoints'::regclass
    order by read.oid
    limit 1;
    if found then
        return format('webhook_delivery.access_function reads %1$s, whose policies do not apply to its owner %2$I: a session that acts for a tenant as %2$I '
            'sees every auction. Use another role for such sessions (set role), or run: alter table %1$s force row level security.',
            unbound.table_name, unbound.rolname);
    end if;
    return null;
end
$$;

comment on function webhook_delivery.access_problem() is
    'Returns why only operators see endpoints, or which role sees too many, as far as this can be detected; null if no problem is found. Shown in webhook_delivery.status and reported by install_triggers()';

create function webhook_delivery.administered_auctions() returns setof uuid
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    named constant text := current_setting('webhook_delivery.access_function');
    access_function constant regprocedure := to_regprocedure(nullif(named, '') || '()');
begin
    if named = '' then
        return query select webhook_delivery.auctions_of_member();
        return;
    end if;
    if not exists (select from pg_proc where oid = access_function and prorettype = 'uuid'::regtype) then
        raise exception using
            errcode = 'undefined_function',
            message = format('access function %L does not exist', named),
            hint = 'Set webhook_delivery.access_function to the name, with schema, of a function () returns setof uuid that returns the auctions that the caller administers.';
    end if;
    return query execute format('select %s()', access_function::regproc);
end
$$;

comment on function webhook_delivery.administered_auctions() is
    'Returns the auctions whose webhooks the caller may see and change, according to webhook_delivery.access_function. Row-level security calls it once per statement';

-- The policies compare with an array, so that the planner computes the set of auctions once. Roles
-- that bypass row-level security, and roles with the rights of the extension's owner, see every
-- row.
alter table public.webhook_endpoints enable row level security;
create policy administrators_of_the_auction on public.webhook_endpoints
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on public.webhook_endpoints is
    'Limits access to auctions that the caller administers, even if ALL was granted';

alter table public.webhook_deleted_endpoints enable row level security;
create policy administrators_of_the_auction on public.webhook_deleted_endpoints for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on public.webhook_deleted_endpoints is
    'Limits access to auctions that the caller administers, even if ALL was granted';

alter table webhook_delivery.queue enable row level security;
create policy administrators_of_the_auction on webhook_delivery.queue for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.queue is 'Limits webhook_deliveries, which reads with the caller''s rights, to auctions that the caller administers';

alter table webhook_delivery.parked_counts enable row level security;
-- The row with the zero uuid as endpoint shows that there are counts.
create policy administrators_of_the_auction on webhook_delivery.parked_counts for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())) or endpoint_id = '00000000-0000-0000-0000-000000000000');
comment on policy administrators_of_the_auction on webhook_delivery.parked_counts is 'Limits webhook_endpoint_health, which reads with the caller''s rights, to auctions that the caller administers';

alter table webhook_delivery.attempts enable row level security;
create policy administrators_of_the_auction on webhook_delivery.attempts for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.attempts is 'Limits webhook_delivery_attempts, which reads with the caller''s rights, to auctions that the caller administers';

alter table webhook_delivery.attempts_ended enable row level security;
create policy administrators_of_the_auction on webhook_delivery.attempts_ended for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.attempts_ended is 'Limits webhook_deliveries, which reads with the caller''s rights, to auctions that the caller administers';

-- These tables have no policy: only the owner and roles that bypass row-level security see their
-- rows, even after a mistaken grant.
alter table webhook_delivery.endpoint_secrets enable row level security;
alter table webhook_delivery.auction_usage enable row level security;
alter table webhook_delivery.queue_recent enable row level security;
alter table webhook_delivery.queue_parked enable row level security;
alter table webhook_delivery.events enable row level security;
alter table webhook_delivery.events_default enable row level security;
alter table webhook_delivery.attempts_ended_default enable row level security;
alter table webhook_delivery.attempts_retried enable row level security;
alter table webhook_delivery.attempts_retried_default enable row level security;
alter table webhook_delivery.capture_errors enable row level security;
alter table webhook_delivery.slow_endpoints enable row level security;
alter table webhook_delivery.installations enable row level security;
alter table webhook_delivery.payload_functions enable row level security;

alter table public.webhook_event_types enable row level security;
create policy everybody_reads_the_catalogue on public.webhook_event_types for select using (true);
comment on policy everybody_reads_the_catalogue on public.webhook_event_types is 'Lets every role read the catalogue; only its owner changes it';

create function webhook_delivery.refuse_to_truncate() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not webhook_delivery.is_operator() then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('permission denied to truncate %I', tg_table_name),
            hint = 'Row-level security does not apply to TRUNCATE. Use DELETE.';
    end if;
    return null;
end
$$;

comment on function webhook_delivery.refuse_to_truncate() is 'Trigger: raises 42501 if a role that is not an operator truncates the table, even if ALL was granted';

create trigger webhook_event_types_refuse_truncate before truncate on public.webhook_event_types
    for each statement execute function webhook_delivery.refuse_to_truncate();
create trigger webhook_endpoints_refuse_truncate before truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.refuse_to_truncate();
create trigger webhook_deleted_endpoints_refuse_truncate before truncate on public.webhook_deleted_endpoints
    for each statement execute function webhook_delivery.refuse_to_truncate();
