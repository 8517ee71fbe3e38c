-- Writes to webhook_endpoints: triggers that check and complete the row, and store its secret in a
-- table of its own.

create function webhook_delivery.secret_hint(secret text) returns text
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select '...' || pg_catalog.right(secret, 4) $$;

comment on function webhook_delivery.secret_hint(text) is 'Returns the part of a secret that may be shown: its last four characters';

create function webhook_delivery.is_secret_hint(secret text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(secret like '...____', false) $$;

comment on function webhook_delivery.is_secret_hint(text) is 'Whether a text has the form of what secret_hint() returns, which is too short to be a secret';

-- Runs as the caller. A caller who could choose an id would learn from the error that another
-- auction has an endpoint with it.
create function webhook_delivery.assign_endpoint_id() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if new.id is null then
        -- A REST call that inserts several rows gives null for a column that one of them omits.
        new.id := webhook_delivery.uuid_v7();
    elsif not webhook_delivery.take_new_endpoint_id(new.id) and webhook_delivery.visible_auction(new.id) is null
        and not webhook_delivery.is_operator()
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'the id of a new webhook endpoint is assigned by the database',
            hint = 'Omit id. To change an endpoint by an upsert, give the id of an endpoint that you see.';
    end if;
    return new;
end
$$;

comment on function webhook_delivery.assign_endpoint_id() is
    'Raises 22023 if a caller who does not see every auction has chosen the id of a new endpoint';

-- Runs as the caller. Row-level security decides; this gives the reason.
create function webhook_delivery.assign_endpoint_auction() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    administered uuid[];
begin
    -- Also for a SECURITY DEFINER function of the application whose owner bypasses the policy.
    if not row_security_active('public.webhook_endpoints') then
        return new;
    end if;
    administered := array(select auction_id from webhook_delivery.administered_auctions() as mine (auction_id) limit 2);
    if new.auction_id is null and cardinality(administered) = 1 then
        new.auction_id := administered[1];
    elsif new.auction_id is null then
        raise exception using
            errcode = 'not_null_violation',
            message = 'auction_id of the webhook endpoint is missing',
            hint = 'Give the auction whose events the endpoint receives.';
    elsif new.auction_id not in (select mine.auction_id from webhook_delivery.administered_auctions() as mine (auction_id)) then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('permission denied for auction %s', new.auction_id),
            detail = case when cardinality(administered) = 0 then 'You administer no auction.' else 'You do not administer this auction.' end,
            hint = 'webhook_auctions() returns the auctions that you administer.';
    end if;
    return new;
end
$$;

comment on function webhook_delivery.assign_endpoint_auction() is
    'Gives an endpoint without auction_id the only auction that the caller administers. Raises 23502 if there are several, and 42501 for an auction that the caller does not administer';

-- Runs with the caller's rights.
create function webhook_delivery.check_endpoint_disabling() returns trigger
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

comment on function webhook_delivery.check_endpoint_disabling() is
    'Trigger: clears disabled_at and disabled_reason of an active endpoint, and raises 22023 if a caller who is not an operator sets them';

create function webhook_delivery.accept_secret(is_new boolean, endpoint_id uuid, given text, present text) returns text
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    stored constant text := (select known.secret from public.webhook_endpoints as known where known.id = accept_secret.endpoint_id);
begin
    if webhook_delivery.rotation(endpoint_id) is not null then
        given := null;
    elsif is_new then
        if given = stored then
            -- An upsert of a row as it was read.
            given := null;
        end if;
    elsif given = webhook_delivery.secret_hint(webhook_delivery.stashed_secret(endpoint_id))
        and not webhook_delivery.stashed_is_unknown(endpoint_id)
    then
        -- An upsert was here first as INSERT, with a secret that was given: it is meant.
        return given;
    else
        -- A secret that INSERT has generated is not meant: none was given.
        if given = webhook_delivery.secret_hint(webhook_delivery.take_stashed_secret(endpoint_id)) then
            given := null;
        end if;
        if given is null or given in (present, stored) then
            return coalesce(stored, present);
        end if;
    end if;
    if webhook_delivery.is_secret_hint(given) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('%s is the hint of another secret', given),
            hint = 'Omit secret: a new endpoint gets a generated secret, and an existing one keeps its own.';
    end if;
    if given is not null then
        perform webhook_delivery.check_secret(given);
    end if;
    perform webhook_delivery.stash_secret(endpoint_id, coalesce(given, webhook_delivery.generate_secret()), given is null);
    return webhook_delivery.secret_hint(webhook_delivery.stashed_secret(endpoint_id));
end
$$;

comment on function webhook_delivery.accept_secret(boolean, uuid, text, text) is
    'Stashes the secret that was given for an endpoint, or a generated one, for store_endpoint_secret(). Returns the hint for the row, which logical decoding and other triggers read';

create function webhook_delivery.accept_signature(endpoint_id uuid, signature public.webhook_signature, present_key text) returns text
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- An upsert of an existing endpoint was here first as INSERT.
    perform webhook_delivery.take_stashed_signing_key(endpoint_id);
    if signature = 'hmac' then
        return null;
    end if;
    return case when present_key is null or webhook_delivery.rotation(endpoint_id) is not null
        then webhook_delivery.stash_signing_key(endpoint_id) else present_key end;
end
$$;

comment on function webhook_delivery.accept_signature(uuid, public.webhook_signature, text) is
    'Returns the public key of an endpoint, null if it has none. A new key pair is stashed for store_endpoint_secret()';

create function webhook_delivery.prepare_endpoint() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tg_op = 'INSERT' then
        new.created_at := now();
        begin
            new.created_by := nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub';
        exception when invalid_text_representation then
            -- An application may use claims of another form.
            new.created_by := null;
        end;
        perform webhook_delivery.claim_installation();
    else
        if new.id is distinct from old.id or new.auction_id is distinct from old.auction_id then
            raise exception using
                errcode = 'invalid_parameter_value',
                message = 'id and auction_id of a webhook endpoint must not be changed',
                hint = 'Create a new endpoint instead.';
        end if;
        new.created_at := old.created_at;
        new.created_by := old.created_by;
    end if;
    new.updated_at := now();
    if new.url is not null and (tg_op = 'INSERT' or new.url is distinct from old.url) then
        new.url := webhook_delivery.normal_url(new.url);
    end if;
    if tg_op = 'INSERT' or new.filter is distinct from old.filter then
        new.filter := webhook_delivery.normal_filter(new.filter);
    end if;
    if tg_op = 'INSERT' or new.events is distinct from old.events then
        perform webhook_delivery.check_endpoint_events(new.events);
    end if;
    if tg_op = 'INSERT' or new.headers is distinct from old.headers then
        perform webhook_delivery.check_endpoint_headers(new.headers::text);
    end if;
    perform webhook_delivery.check_endpoint(new);
    new.secret := webhook_delivery.accept_secret(tg_op = 'INSERT', new.id, new.secret, case when tg_op = 'UPDATE' then old.secret end);
    new.public_key := webhook_delivery.accept_signature(new.id, new.signature, case when tg_op = 'UPDATE' then old.public_key end);
    return new;
end
$$;

comment on function webhook_delivery.prepare_endpoint() is
    'Checks the row, sets the columns that the server maintains (created_at, created_by, updated_at, public_key), and takes the secret out of the row';

create function webhook_delivery.replace_secret(endpoint_id uuid, algorithm public.webhook_signature, secret text, keep_old_for interval) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    -- The old secret may be replaced because it has leaked: it keeps signing only for the time that
    -- a rotation sets.
    delete from webhook_delivery.endpoint_secrets as stored
    where stored.endpoint_id = replace_secret.endpoint_id and stored.algorithm = replace_secret.algorithm
        and (stored.is_previous or keep_old_for is null or keep_old_for = interval '0');
    update webhook_delivery.endpoint_secrets as stored set is_previous = true, signs_until = now() + keep_old_for
    where stored.endpoint_id = replace_secret.endpoint_id and stored.algorithm = replace_secret.algorithm;
    insert into webhook_delivery.endpoint_secrets (endpoint_id, algorithm, key_id, secret)
    select replace_secret.endpoint_id, replace_secret.algorithm, sealed.key_id, sealed.secret
    from webhook_delivery.seal_secret(replace_secret.endpoint_id, replace_secret.algorithm::text, replace_secret.secret) as sealed;
end
$$;

comment on function webhook_delivery.replace_secret(uuid, public.webhook_signature, text, interval) is
    'Stores a secret of an endpoint, encrypted if webhook_delivery.secret_key_file is set. The present one also signs for a while';

create function webhook_delivery.store_endpoint_secret() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    is_unknown constant boolean := webhook_delivery.stashed_is_unknown(new.id);
    given constant text := webhook_delivery.take_stashed_secret(new.id);
    signing_key constant text := webhook_delivery.take_stashed_signing_key(new.id);
    keep_old_for constant interval := make_interval(secs => webhook_delivery.rotation(new.id));
begin
    if given is not null then
        perform webhook_delivery.replace_secret(new.id, 'hmac', given, keep_old_for);
        if is_unknown then
            raise notice using
                message = format('endpoint %s has a generated secret that was not shown', new.id),
                hint = 'Use INSERT ... RETURNING generated_secret(webhook_endpoints), or set a secret of your own with UPDATE.';
        end if;
    end if;
    if signing_key is not null then
        perform webhook_delivery.replace_secret(new.id, 'ed25519', signing_key, keep_old_for);
    elsif new.signature = 'hmac' then
        delete from webhook_delivery.endpoint_secrets as stored where stored.endpoint_id = new.id and stored.algorithm = 'ed25519';
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

comment on function webhook_delivery.store_endpoint_secret() is
    'Trigger: stores the secrets in the private schema, and wakes the worker if the endpoint is enabled, disabled or limited';

-- An AFTER trigger, because row-level security has been checked before it fires: a tenant must not
-- learn how many endpoints another auction has.
create function webhook_delivery.check_new_endpoint() returns trigger
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

comment on function webhook_delivery.check_new_endpoint() is 'Trigger: raises 55000 if the endpoint has no secret, and 23514 if the auction has too many endpoints';

create function webhook_delivery.forget_unwritten_secrets() returns trigger
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

comment on function webhook_delivery.forget_unwritten_secrets() is 'Trigger: discards the secrets that a statement has stashed and not written';

create function webhook_delivery.delete_endpoint_data() returns trigger
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
    insert into public.webhook_deleted_endpoints as known (id, auction_id, url, description)
    select gone.id, gone.auction_id, gone.url, gone.description from gone
    on conflict on constraint deleted_endpoint_ids_are_unique do update set
        auction_id = excluded.auction_id, url = excluded.url, description = excluded.description, deleted_at = excluded.deleted_at;
    delete from public.webhook_deleted_endpoints as known
    using (
        select older.id, row_number() over (partition by older.auction_id order by older.deleted_at desc, older.id desc) as place
        from public.webhook_deleted_endpoints as older
        where older.auction_id in (select gone.auction_id from gone)
    ) as ranked
    where ranked.place > 100 and known.id = ranked.id;
    return null;
end
$$;

comment on function webhook_delivery.delete_endpoint_data() is
    'Trigger: deletes the secrets and pauses of deleted endpoints, and keeps what names the latest 100 of an auction';

-- Rows of a dump are not checked: they were checked when they were first written, and their secrets
-- follow in a table of their own. Every dump begins with check_function_bodies = off, which nothing
-- else sets, and only a role with the rights of the extension's owner restores one. A row that is
-- copied in any other way, for example by "duplicate" in a table editor, is checked like a new one.
--
-- Triggers for the same event fire in the order of their names, hence the numbers.
create trigger webhook_endpoints_1_assign_id before insert on public.webhook_endpoints
    for each row execute function webhook_delivery.assign_endpoint_id();
create trigger webhook_endpoints_2_assign_auction before insert on public.webhook_endpoints
    for each row execute function webhook_delivery.assign_endpoint_auction();
create trigger webhook_endpoints_3_check_disabling before insert or update on public.webhook_endpoints
    for each row execute function webhook_delivery.check_endpoint_disabling();
create trigger webhook_endpoints_4_prepare_insert before insert on public.webhook_endpoints
    for each row
    when (not coalesce(new.secret like '...____' and not pg_catalog.current_setting('check_function_bodies')::boolean
        and pg_catalog.has_schema_privilege('webhook_delivery', 'create'), false))
    execute function webhook_delivery.prepare_endpoint();
create trigger webhook_endpoints_4_prepare_update before update on public.webhook_endpoints
    for each row execute function webhook_delivery.prepare_endpoint();
create trigger webhook_endpoints_5_store_secret after insert or update on public.webhook_endpoints
    for each row execute function webhook_delivery.store_endpoint_secret();
create trigger webhook_endpoints_6_check_new after insert on public.webhook_endpoints
    for each row
    when (not coalesce(not pg_catalog.current_setting('check_function_bodies')::boolean
        and pg_catalog.has_schema_privilege('webhook_delivery', 'create'), false))
    execute function webhook_delivery.check_new_endpoint();
create trigger webhook_endpoints_delete_data after delete on public.webhook_endpoints
    referencing old table as gone
    for each statement execute function webhook_delivery.delete_endpoint_data();
create trigger webhook_endpoints_delete_all_data after truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.delete_endpoint_data();
create trigger webhook_endpoints_begin_statement before insert or update on public.webhook_endpoints
    for each statement execute function webhook_delivery.forget_unwritten_secrets();
create trigger webhook_endpoints_end_statement after insert or update on public.webhook_endpoints
    for each statement execute function webhook_delivery.forget_unwritten_secrets();

create trigger webhook_endpoints_announce_changes after insert or update or delete or truncate on public.webhook_endpoints
    for each statement execute function webhook_delivery.announce_change();
-- The trigger also fires when a subscriber of logical replication or a restore writes.
alter table public.webhook_endpoints enable always trigger webhook_endpoints_announce_changes;
