-- Who may see and change the webhooks of which auction?

create function webhook_delivery.is_operator() returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    -- Both the current role and the session's: neither does a superuser lend his sight to a tenant's SECURITY DEFINER function
    -- that he runs, nor the owner of such a function his to the tenant who calls it.
    select coalesce(pg_catalog.bool_and(pg_catalog.pg_has_role(caller.oid, private.nspowner, 'usage') or caller.rolbypassrls), false)
    from pg_catalog.pg_roles as caller, pg_catalog.pg_namespace as private
    where private.nspname = 'webhook_delivery'
        and caller.rolname in (current_user, coalesce(nullif(pg_catalog.current_setting('role'), 'none')::name, session_user))
    $$;

comment on function webhook_delivery.is_operator() is
    'Whether the current role, and the one that the session has, have the rights of the extension''s owner or bypass row-level security, and so see every auction';

create function webhook_delivery.has_access(auction_id uuid) returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    check_function text := current_setting('webhook_delivery.access_check');
    allowed boolean;
begin
    if webhook_delivery.is_operator() then
        return true;
    end if;
    if check_function = '' then
        return webhook_delivery.is_auction_admin(auction_id);
    end if;
    execute format('select %s($1)', check_function::regproc) into allowed using auction_id;
    return coalesce(allowed, false);
end
$$;

comment on function webhook_delivery.has_access(uuid) is
    'Whether the current role may see and change the webhooks of this auction: operators always, others as webhook_delivery.access_check says';

alter table @extschema@.webhook_endpoints enable row level security;
create policy administrators_of_the_auction on @extschema@.webhook_endpoints
    using (webhook_delivery.has_access(auction_id)) with check (webhook_delivery.has_access(auction_id));
comment on policy administrators_of_the_auction on @extschema@.webhook_endpoints is
    'Rows of auctions for which webhook_delivery.has_access() says yes; holds even where someone granted ALL';

alter table @extschema@.webhook_event_types enable row level security;
create policy everybody_reads_the_catalogue on @extschema@.webhook_event_types for select using (true);
comment on policy everybody_reads_the_catalogue on @extschema@.webhook_event_types is 'Reading only: the catalogue is the owner''s to change';

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

create trigger webhook_event_types_before_truncate before truncate on @extschema@.webhook_event_types
    for each statement execute function webhook_delivery.refuse_to_truncate();
create trigger webhook_endpoints_before_truncate before truncate on @extschema@.webhook_endpoints
    for each statement execute function webhook_delivery.refuse_to_truncate();
