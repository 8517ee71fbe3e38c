-- Writes to webhook_endpoints: triggers that check and complete the row, and store its secret in a
-- table of its own.

create function webhook_delivery.secret_hint(secret text) returns text
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select '...' || pg_catalog.right(secret, 4) $$;

comment on function webhook_delivery.secret_hint(text) is 'Returns the part of a secret that may be shown: its last four characters';

create function webhook_delivery.check_endpoint_events(events text[]) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    unknown text[];
begin
    -- Checked before the comparison with the catalogue, which would take seconds for a million
    -- entries.
    if cardinality(events) > 100 or array_ndims(events) > 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('invalid list of event types: %s entries in %s dimensions', cardinality(events), array_ndims(events)),
            hint = 'Give a list of at most 100 names, or a family such as submission.*, or *.';
    end if;
    -- The message names at most 10 entries of at most 100 characters: its size does not depend on
    -- what was written.
    select (array_agg(coalesce(left(wanted, 100), 'NULL')))[:10] into unknown
    from unnest(events) as wanted
    where wanted is null
       or (wanted <> '*'
           and not exists (
               select from public.webhook_event_types as known
               where known.event_type = wanted
                  or split_part(known.event_type, '.', 1) || '.*' = wanted));
    if unknown is not null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', array_to_string(unknown, ', ')),
            hint = format('Use exact names, a family such as submission.*, or *. Known event types: %s.',
                (select string_agg(event_type, ', ' order by event_type) from public.webhook_event_types));
    end if;
end
$$;

comment on function webhook_delivery.check_endpoint_events(text[]) is
    'Raises 22023 if an event type is not in the catalogue, with a HINT that lists the catalogue, or if there are more than 100';

create function webhook_delivery.check_number_of_endpoints(of_auction uuid) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    at_most constant integer := current_setting('webhook_delivery.max_endpoints');
begin
    -- Without this lock two concurrent transactions could both pass the check. The second waits
    -- until the first has ended, and then counts what the first has written.
    perform webhook_delivery.count_usage(of_auction, 0, 0);
    if (select count(*) from public.webhook_endpoints as endpoint
        where endpoint.auction_id = of_auction) > at_most
    then
        raise exception using
            errcode = 'check_violation',
            message = format('an auction can have at most %s webhook endpoints', at_most),
            hint = 'Delete one that is no longer needed, or have an administrator raise webhook_delivery.max_endpoints.';
    end if;
end
$$;

comment on function webhook_delivery.check_number_of_endpoints(uuid) is
    'Raises 23514 if the auction has more than webhook_delivery.max_endpoints endpoints, including the one that was just inserted';

-- Runs with the caller's rights, and before the other triggers because of its trigger's name. A
-- caller who could choose an id would learn from the error that an endpoint of another auction has
-- it.
create function webhook_delivery.endpoint_before_naming() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if new.id = '00000000-0000-0000-0000-000000000000' then
        new.id := webhook_delivery.uuid_v7();
    elsif webhook_delivery.visible_auction(new.id) is null and not webhook_delivery.is_operator() then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'the id of a new webhook endpoint is assigned by the database',
            hint = 'Omit id. To change an endpoint by an upsert, give the id of an endpoint that you see.';
    end if;
    return new;
end
$$;

comment on function webhook_delivery.endpoint_before_naming() is
    'Trigger: assigns the id of a new endpoint, and raises 22023 if a caller who is not an operator gives an id of no endpoint that it sees';

-- Runs with the caller's rights.
create function webhook_delivery.endpoint_before_disabling() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if new.is_active then
        new.disabled_at := null;
        new.disabled_reason := null;
    elsif num_nonnulls(new.disabled_at, new.disabled_reason) > 0
        -- An upsert of an existing endpoint fires this trigger a second time, as UPDATE.
        and (tg_op = 'INSERT' and webhook_delivery.visible_auction(new.id) is null
            or tg_op = 'UPDATE' and (new.disabled_at, new.disabled_reason) is distinct from (old.disabled_at, old.disabled_reason))
        and not webhook_delivery.is_operator()
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'disabled_at and disabled_reason are set by the server',
            hint = 'Set is_active to false to disable the endpoint yourself.';
    end if;
    return new;
end
$$;

comment on function webhook_delivery.endpoint_before_disabling() is
    'Trigger: clears disabled_at and disabled_reason of an active endpoint, and raises 22023 if a caller who is not an operator sets them';

create function webhook_delivery.is_secret_hint(secret text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(secret like '...____', false) $$;

comment on function webhook_delivery.is_secret_hint(text) is 'Whether a text has the form of what secret_hint() returns, which is too short to be a secret';

create function webhook_delivery.check_retry_schedule(waits interval[]) returns void
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- Months compare as 30 days and can last longer. With units of different signs a wait could
    -- have any length.
    if cardinality(waits) <= 100 and exists (
        select from unnest(waits) as given (wait)
        where extract(year from given.wait) <> 0 or extract(month from given.wait) <> 0)
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'waits of retry_schedule must not have months',
            hint = 'Use days, hours, minutes and seconds: {1 minute, 1 hour, 30 days}.';
    end if;
end
$$;

comment on function webhook_delivery.check_retry_schedule(interval[]) is 'Raises 22023 if a wait has months. A constraint of the table limits the number of waits and their length';

create function webhook_delivery.endpoint_before_write() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    stored text;
begin
    if tg_op = 'INSERT' then
        new.created_at := now();
        begin
            new.created_by := nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub';
        exception when invalid_text_representation then
            -- An application may set claims that are not JSON.
            new.created_by := null;
        end;
        perform webhook_delivery.claim_installation();
    else
        if new.id is distinct from old.id or new.auction_id is distinct from old.auction_id then
            raise exception using
                errcode = 'invalid_parameter_value',
                message = 'id and auction_id of a webhook endpoint cannot be changed',
                hint = 'Create a new endpoint instead.';
        end if;
        new.created_at := old.created_at;
        new.created_by := old.created_by;
    end if;
    new.updated_at := now();
    if new.url is not null and (tg_op = 'INSERT' or new.url is distinct from old.url) then
        new.url := webhook_delivery.normal_url(new.url);
    end if;
    if tg_op = 'INSERT' or new.events is distinct from old.events then
        perform webhook_delivery.check_endpoint_events(new.events);
    end if;
    if tg_op = 'INSERT' or new.headers is distinct from old.headers then
        perform webhook_delivery.check_endpoint_headers(new.headers::text);
    end if;
    if tg_op = 'INSERT' or new.retry_schedule is distinct from old.retry_schedule then
        perform webhook_delivery.check_retry_schedule(new.retry_schedule);
    end if;

    select known.secret into stored from webhook_delivery.endpoint_secrets as known where known.endpoint_id = new.id;
    if webhook_delivery.rotation(new.id) is not null then
        new.secret := null;
    elsif tg_op = 'INSERT' then
        if new.secret = webhook_delivery.secret_hint(stored) then
            -- An upsert has written the row as it was read, with the hint as its secret.
            new.secret := null;
        end if;
    elsif new.secret = webhook_delivery.secret_hint(webhook_delivery.stashed_secret(new.id))
        and not webhook_delivery.stashed_is_unknown(new.id)
    then
        -- An upsert fires this trigger first as INSERT, which has stashed the secret that the
        -- statement gave. That secret is stored.
        return new;
    else
        -- A secret that INSERT has generated is discarded, because the statement gave none.
        if new.secret = webhook_delivery.secret_hint(webhook_delivery.take_stashed_secret(new.id)) then
            new.secret := null;
        end if;
        if new.secret is null or new.secret in (old.secret, webhook_delivery.secret_hint(stored)) then
            new.secret := coalesce(webhook_delivery.secret_hint(stored), old.secret);
            return new;
        end if;
    end if;

    if webhook_delivery.is_secret_hint(new.secret) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('%s is the hint of another secret', new.secret),
            hint = 'Omit secret: a new endpoint gets a generated secret, and an existing endpoint keeps its own.';
    end if;
    if new.secret is not null then
        perform webhook_delivery.check_secret(new.secret);
    end if;
    perform webhook_delivery.stash_secret(new.id, coalesce(new.secret, webhook_delivery.generate_secret()), new.secret is null);
    -- Logical decoding and other triggers read the row as it is here, whatever is done to it later.
    new.secret := webhook_delivery.secret_hint(webhook_delivery.stashed_secret(new.id));
    return new;
end
$$;

comment on function webhook_delivery.endpoint_before_write() is
    'Trigger: checks the endpoint, sets the columns that the server maintains (created_at, created_by, updated_at), and replaces the secret in the row by its hint';

create function webhook_delivery.endpoint_after_write() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    is_unknown constant boolean := webhook_delivery.stashed_is_unknown(new.id);
    given constant text := webhook_delivery.take_stashed_secret(new.id);
    keep_old_for constant interval := make_interval(secs => webhook_delivery.rotation(new.id));
begin
    if given is not null then
        -- The old secret may be replaced because it has leaked: it keeps signing only for the time
        -- that a rotation sets.
        insert into webhook_delivery.endpoint_secrets as stored (endpoint_id, secret) values (new.id, given)
        on conflict (endpoint_id) do update set
            secret = excluded.secret,
            previous_secret = case when keep_old_for > interval '0' then stored.secret end,
            previous_until = case when keep_old_for > interval '0' then now() + keep_old_for end;
        if is_unknown then
            raise notice using
                message = format('endpoint %s has a generated secret that was not shown', new.id),
                hint = 'Use INSERT ... RETURNING generated_secret(webhook_endpoints), or set a secret of your own with UPDATE.';
        end if;
    end if;
    if tg_op = 'UPDATE'
        and (new.is_active, new.ordered, new.max_per_second) is distinct from (old.is_active, old.ordered, old.max_per_second)
    then
        -- Deliveries that waited for this endpoint lie behind the position that the worker has read
        -- up to, or prefetched ones must not be sent, or they wait by the previous limit.
        perform webhook_delivery.wake_to_rescan();
    end if;
    return null;
end
$$;

comment on function webhook_delivery.endpoint_after_write() is
    'Trigger: stores the secret in the private schema, and wakes the worker if the endpoint is enabled, disabled or limited';

-- An AFTER trigger, because row-level security has been checked before it fires: a tenant must not
-- learn how many endpoints another auction has.
create function webhook_delivery.endpoint_after_insert() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not exists (select from webhook_delivery.endpoint_secrets as stored where stored.endpoint_id = new.id) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('endpoint %s has no secret', new.id),
            hint = 'Insert endpoints in a statement of their own.';
    end if;
    perform webhook_delivery.check_number_of_endpoints(new.auction_id);
    return null;
end
$$;

comment on function webhook_delivery.endpoint_after_insert() is 'Trigger: raises 55000 if the endpoint has no secret, and 23514 if the auction has too many endpoints';

create function webhook_delivery.endpoints_around_statement() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- A secret stashed by a statement that then wrote nothing (ON CONFLICT DO NOTHING) must not be
    -- used by a later statement.
    if tg_when = 'BEFORE' then
        perform webhook_delivery.begin_stashing();
    else
        perform webhook_delivery.end_stashing();
    end if;
    return null;
end
$$;

comment on function webhook_delivery.endpoints_around_statement() is 'Trigger: discards the secrets that a statement has stashed and not written';

create function webhook_delivery.endpoints_after_delete() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tg_op = 'TRUNCATE' then
        delete from webhook_delivery.endpoint_secrets;
        delete from webhook_delivery.pauses where endpoint_id is not null;
        return null;
    end if;
    delete from webhook_delivery.pauses as pause using gone where pause.endpoint_id = gone.id;
    delete from webhook_delivery.endpoint_secrets as stored
    using gone
    where stored.endpoint_id = gone.id
        -- The same statement may have inserted the endpoint again.
        and not exists (select from public.webhook_endpoints as endpoint where endpoint.id = gone.id);
    return null;
end
$$;

comment on function webhook_delivery.endpoints_after_delete() is 'Trigger: deletes the secrets and pauses of deleted endpoints';

-- Rows of a dump are not checked: they were checked when they were first written, and their secrets
-- follow in a table of their own. Every dump begins with check_function_bodies = off, which nothing
-- else sets, and only a role with the rights of the extension's owner restores one. A row that is
-- copied in any other way, for example by "duplicate" in a table editor, is checked like a new one.
create trigger webhook_endpoint_a_naming before insert on public.webhook_endpoints
    for each row execute function webhook_delivery.endpoint_before_naming();
create trigger webhook_endpoint_a_disabling before insert or update on public.webhook_endpoints
    for each row execute function webhook_delivery.endpoint_before_disabling();
create trigger webhook_endpoint_before_insert before insert on public.webhook_endpoints
    for each row
    when (not coalesce(new.secret like '...____' and not pg_catalog.current_setting('check_function_bodies')::boolean
        and pg_catalog.has_schema_privilege('webhook_delivery', 'create'), false))
    execute function webhook_delivery.endpoint_before_write();
create trigger webhook_endpoint_before_update before update on public.webhook_endpoints
    for each row execute function webhook_delivery.endpoint_before_write();
create trigger webhook_endpoint_after_write after insert or update on public.webhook_endpoints
    for each row execute function webhook_delivery.endpoint_after_write();
create trigger webhook_endpoints_after_delete after delete on public.webhook_endpoints
    referencing old table as gone
    for each statement execute function webhook_delivery.endpoints_after_delete();
create trigger webhook_endpoints_after_truncate after truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.endpoints_after_delete();
-- Because of its name this trigger fires after the one that stores the secret.
create trigger webhook_endpoint_inserted after insert on public.webhook_endpoints
    for each row
    when (not coalesce(not pg_catalog.current_setting('check_function_bodies')::boolean
        and pg_catalog.has_schema_privilege('webhook_delivery', 'create'), false))
    execute function webhook_delivery.endpoint_after_insert();
create trigger webhook_endpoints_before_statement before insert or update on public.webhook_endpoints
    for each statement execute function webhook_delivery.endpoints_around_statement();
create trigger webhook_endpoints_after_statement after insert or update on public.webhook_endpoints
    for each statement execute function webhook_delivery.endpoints_around_statement();

create trigger webhook_endpoints_are_remembered after insert or update or delete or truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.announce_change();
-- The trigger also fires when a subscriber of logical replication or a restore writes.
alter table public.webhook_endpoints enable always trigger webhook_endpoints_are_remembered;
