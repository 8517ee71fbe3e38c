-- What is checked, completed and stored apart when an endpoint is written.

create function webhook_delivery.secret_hint(secret text) returns text
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select '...' || pg_catalog.right(secret, 4) $$;

comment on function webhook_delivery.secret_hint(text) is 'What of a secret may be shown: its last four characters';

create function webhook_delivery.check_endpoint_events(events text[]) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    unknown text[];
begin
    -- Before they are compared with the catalogue: a million entries would take seconds.
    if cardinality(events) > 100 or array_ndims(events) > 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('%s event types in %s dimensions are too many', cardinality(events), array_ndims(events)),
            hint = 'Give a list of at most 100 names, or a family such as submission.*, or *.';
    end if;
    -- Cut short, and not all: what was written is not to be answered by a message of any size.
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
    'Refuses names that are not in the catalogue (22023, with the list of those that are)';

create function webhook_delivery.check_number_of_endpoints(of_auction uuid) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    at_most constant integer := current_setting('webhook_delivery.max_endpoints');
begin
    -- Two transactions at once would both find room: the second waits for this lock until the first has ended, and then counts
    -- what the first has written.
    perform webhook_delivery.count_usage(of_auction, 0, 0);
    if (select count(*) from public.webhook_endpoints as endpoint
        where endpoint.auction_id = of_auction) > at_most
    then
        raise exception using
            errcode = 'check_violation',
            message = format('the auction has %s webhook endpoints, and no more are allowed', at_most),
            hint = 'Delete one that is no longer needed, or have an administrator raise webhook_delivery.max_endpoints.';
    end if;
end
$$;

comment on function webhook_delivery.check_number_of_endpoints(uuid) is
    'Refuses (23514) the endpoint that was just inserted where the auction has more than webhook_delivery.max_endpoints';

-- Runs as the caller, before the others by its trigger's name. A caller who could choose an id would learn from the refusal that
-- another auction has an endpoint with it.
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
            message = 'the id of a new webhook endpoint is given by the database',
            hint = 'Leave id out. To change an endpoint by an upsert, give the id of one that you see.';
    end if;
    return new;
end
$$;

comment on function webhook_delivery.endpoint_before_naming() is
    'Gives a new endpoint its id, and refuses (22023) one that was chosen by a caller who cannot see all endpoints';

-- Runs as the caller.
create function webhook_delivery.endpoint_before_disabling() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if new.is_active then
        new.disabled_at := null;
        new.disabled_reason := null;
    elsif num_nonnulls(new.disabled_at, new.disabled_reason) > 0
        -- An upsert of an endpoint that is there comes here a second time, as UPDATE.
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
    'An endpoint that is active says no more why it was disabled; refuses (22023) to all but operators to say so of one';

create function webhook_delivery.is_secret_hint(secret text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(secret like '...____', false) $$;

comment on function webhook_delivery.is_secret_hint(text) is 'Whether this is what secret_hint() gives, which is too short to be a secret';

create function webhook_delivery.check_retry_schedule(waits interval[]) returns void
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- Months compare as 30 days and last longer: with units of different signs a wait could be of any length.
    if cardinality(waits) <= 100 and exists (
        select from unnest(waits) as given (wait)
        where extract(year from given.wait) <> 0 or extract(month from given.wait) <> 0)
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'waits of retry_schedule cannot have months',
            hint = 'Use days, hours, minutes and seconds: {1 minute, 1 hour, 30 days}.';
    end if;
end
$$;

comment on function webhook_delivery.check_retry_schedule(interval[]) is 'Refuses (22023) waits in months. How many and how long they are, a constraint of the table says';

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
            -- An application may have claims of another form.
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
            -- An upsert of a row as it was read.
            new.secret := null;
        end if;
    elsif new.secret = webhook_delivery.secret_hint(webhook_delivery.stashed_secret(new.id))
        and not webhook_delivery.stashed_is_unknown(new.id)
    then
        -- An upsert comes here first as INSERT: the secret that it has given is meant.
        return new;
    else
        -- One that INSERT has generated is not: none was given.
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
            hint = 'Leave secret out: a new endpoint gets a generated secret, and one that is there keeps its own.';
    end if;
    if new.secret is not null then
        perform webhook_delivery.check_secret(new.secret);
    end if;
    perform webhook_delivery.stash_secret(new.id, coalesce(new.secret, webhook_delivery.generate_secret()), new.secret is null);
    -- What stands in the row is read by logical decoding and by other triggers, whatever is done to it later.
    new.secret := webhook_delivery.secret_hint(webhook_delivery.stashed_secret(new.id));
    return new;
end
$$;

comment on function webhook_delivery.endpoint_before_write() is
    'Checks what is written, sets what the server keeps (created_at, created_by, updated_at), and takes the secret out of the row';

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
        -- A secret may be replaced because the old one has leaked.
        insert into webhook_delivery.endpoint_secrets as stored (endpoint_id, secret) values (new.id, given)
        on conflict (endpoint_id) do update set
            secret = excluded.secret,
            previous_secret = case when keep_old_for > interval '0' then stored.secret end,
            previous_until = case when keep_old_for > interval '0' then now() + keep_old_for end;
        if is_unknown then
            raise notice using
                message = format('endpoint %s has a generated secret that nobody has seen', new.id),
                hint = 'Insert with RETURNING generated_secret(webhook_endpoints), or set a secret of your own with UPDATE.';
        end if;
    end if;
    if tg_op = 'UPDATE'
        and (new.is_active, new.ordered, new.max_per_second) is distinct from (old.is_active, old.ordered, old.max_per_second)
    then
        -- What waited for this endpoint lies behind the point that the worker has read to; or what it has read is not to be sent;
        -- or it waits by the limit of before.
        perform webhook_delivery.wake_to_rescan();
    end if;
    return null;
end
$$;

comment on function webhook_delivery.endpoint_after_write() is
    'Puts the secret into the private schema, and wakes the worker when one is enabled, disabled or limited';

-- Row-level security has been checked by then: a tenant must not learn how many endpoints another auction has.
create function webhook_delivery.endpoint_after_insert() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not exists (select from webhook_delivery.endpoint_secrets as stored where stored.endpoint_id = new.id) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('endpoint %s would have no secret', new.id),
            hint = 'Insert endpoints with a statement of its own.';
    end if;
    perform webhook_delivery.check_number_of_endpoints(new.auction_id);
    return null;
end
$$;

comment on function webhook_delivery.endpoint_after_insert() is 'Refuses an endpoint without a secret (55000), and one too many of an auction (23514)';

create function webhook_delivery.endpoints_around_statement() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- A secret proposed by a statement that then wrote nothing (ON CONFLICT DO NOTHING) must not be taken for a later one's.
    if tg_when = 'BEFORE' then
        perform webhook_delivery.begin_stashing();
    else
        perform webhook_delivery.end_stashing();
    end if;
    return null;
end
$$;

comment on function webhook_delivery.endpoints_around_statement() is 'Forgets the secrets that a statement has proposed and not written';

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
        -- The same statement may have created it again.
        and not exists (select from public.webhook_endpoints as endpoint where endpoint.id = gone.id);
    return null;
end
$$;

comment on function webhook_delivery.endpoints_after_delete() is 'Deletes what is kept of deleted endpoints: secrets and pauses';

-- A dump brings rows that were checked when they were first written, and whose secrets follow in a table of their own. Every
-- dump begins with check_function_bodies = off, which nothing else has, and only a role with the rights of the extension's owner
-- restores one. A row that is copied in any other way, as a table editor's "duplicate" does, is checked like a new one.
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
-- By its name it comes after the one that puts the secret away.
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
-- Also where a subscriber of logical replication writes, or a restore.
alter table public.webhook_endpoints enable always trigger webhook_endpoints_are_remembered;
