-- Access: who may see and change the webhooks of which auction.

create function webhook_delivery.is_operator() returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    -- Both the current role and the session's. So a tenant's SECURITY DEFINER function does not see more when a superuser runs it, and a
    -- tenant does not see more through a function whose owner is an operator.
    select coalesce(pg_catalog.bool_and(pg_catalog.pg_has_role(caller.oid, private.nspowner, 'usage') or caller.rolbypassrls), false)
    from pg_catalog.pg_roles as caller, pg_catalog.pg_namespace as private
    where private.nspname = 'webhook_delivery'
        and caller.rolname in (current_user, coalesce(nullif(pg_catalog.current_setting('role'), 'none')::name, session_user))
    $$;

comment on function webhook_delivery.is_operator() is
    'Whether the current role, and the one that the session has, have the rights of the extension''s owner or bypass row-level security, and so see every auction';

create function webhook_delivery.speaks_for_every_auction(role oid) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select pg_has_role(role, known.datdba, 'usage') or has_schema_privilege(role, 'webhook_delivery', 'create')
        or has_function_privilege(role, 'webhook_delivery.capture_row_change()', 'execute')
    from pg_database as known where known.datname = current_database()
    $$;

comment on function webhook_delivery.speaks_for_every_auction(oid) is
    'Whether a role has the rights of the database''s owner or of the extension''s, or grant_application(): its tables say who administers an auction';

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
        return 'There is no table public.auction_members and webhook_delivery.access_function is empty: only operators see endpoints.';
    elsif named = '' and not webhook_delivery.speaks_for_every_auction(owner_of_members) then
        return format('public.auction_members belongs to %1$s, which may not say who administers an auction: only operators see endpoints. '
            'If it is the application''s owner: select webhook_delivery.grant_application(%2$L).', owner_of_members, owner_of_members::text);
    elsif named <> '' and access_function is null then
        return format('webhook_delivery.access_function is %s, and there is no such function: only operators see endpoints.', named);
    end if;
    -- A function asked as the caller may rely on policies, which do not hold for the owner of the table.
    select reader.rolname, read.oid::regclass as table_name into unbound
    from pg_proc as known
    join pg_class as read on read.relrowsecurity and not read.relforcerowsecurity and position(read.relname in known.prosrc) > 0
        and read.relnamespace not in ('pg_catalog'::regnamespace, 'webhook_delivery'::regnamespace)
    join pg_roles as reader on reader.oid = read.relowner
    where known.oid = access_function and not known.prosecdef
        and not reader.rolbypassrls and not has_schema_privilege(reader.oid, 'webhook_delivery', 'create')
        and has_table_privilege(reader.oid, 'public.webhook_endpoints', 'select')
        -- Whose own webhooks are not the extension's.
        and read.oid <> 'public.webhook_endpoints'::regclass
    order by read.oid
    limit 1;
    if found then
        return format('webhook_delivery.access_function reads %1$s, whose policies do not hold for its owner %2$I: a session that acts for a tenant as %2$I '
            'sees every auction. Let it act as another role (set role), or: alter table %1$s force row level security.',
            unbound.table_name, unbound.rolname);
    end if;
    return null;
end
$$;

comment on function webhook_delivery.access_problem() is
    'Why only operators see endpoints, or which role sees too many, as far as that can be known; null where nothing is wrong. In status, and among what install_triggers() reports';

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
            message = format('webhook_delivery.access_function is %L, and there is no such function', named),
            hint = 'It names a function () returns setof uuid, with its schema: the auctions that the caller administers.';
    end if;
    return query execute format('select %s()', access_function::regproc);
end
$$;

comment on function webhook_delivery.administered_auctions() is
    'The auctions whose webhooks the caller may see and change, as webhook_delivery.access_function says. Row-level security asks once per statement';

-- As arrays, so that the planner sees a set that it asks for once. Roles that bypass row-level security, and those with the
-- rights of the extension's owner, see everything.
alter table public.webhook_endpoints enable row level security;
create policy administrators_of_the_auction on public.webhook_endpoints
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on public.webhook_endpoints is
    'Rows of auctions that the caller administers; holds even where someone granted ALL';

alter table webhook_delivery.queue enable row level security;
create policy administrators_of_the_auction on webhook_delivery.queue for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.queue is 'webhook_deliveries reads with the caller''s rights';

alter table webhook_delivery.parked_counts enable row level security;
-- The row of no endpoint says that there are counts.
create policy administrators_of_the_auction on webhook_delivery.parked_counts for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())) or endpoint_id = '00000000-0000-0000-0000-000000000000');
comment on policy administrators_of_the_auction on webhook_delivery.parked_counts is 'webhook_endpoint_health reads with the caller''s rights';

alter table webhook_delivery.attempts enable row level security;
create policy administrators_of_the_auction on webhook_delivery.attempts for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.attempts is 'webhook_delivery_attempts reads with the caller''s rights';

alter table webhook_delivery.attempts_ended enable row level security;
create policy administrators_of_the_auction on webhook_delivery.attempts_ended for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions())));
comment on policy administrators_of_the_auction on webhook_delivery.attempts_ended is 'webhook_deliveries reads with the caller''s rights';

-- Without a policy only the owner and roles that bypass row-level security see a row, also after a grant by mistake.
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
comment on policy everybody_reads_the_catalogue on public.webhook_event_types is 'Reading only: the catalogue is the owner''s to change';

create function webhook_delivery.refuse_to_truncate() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not webhook_delivery.is_operator() then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('%I cannot be truncated', tg_table_name),
            hint = 'Row-level security does not hold for TRUNCATE. Use DELETE.';
    end if;
    return null;
end
$$;

comment on function webhook_delivery.refuse_to_truncate() is 'Refuses TRUNCATE (42501) to all but operators, also where someone granted ALL';

create trigger webhook_event_types_before_truncate before truncate on public.webhook_event_types
    for each statement execute function webhook_delivery.refuse_to_truncate();
create trigger webhook_endpoints_before_truncate before truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.refuse_to_truncate();
