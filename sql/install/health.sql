-- The health of endpoints: endpoints that keep failing are disabled, and operational events are sent.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event_type, description, webhook_delivery.schema_of(shape::json), example::json, true
from (values
    ('webhook.delivery_failed', 'A delivery to another endpoint of the auction has used up all of its attempts',
        '{"endpoint_id": "uuid", "delivery_id": "uuid", "event_type": "string", "attempts": "integer",
          "response_status_code?": "integer", "error_message": "string", "last_attempt_at": "time"}',
        '{
  "endpoint_id": "0f4a7c52-1b9e-4d83-a6c5-7e2d9b8f3a10",
  "delivery_id": "019c1f2e-7b3a-7d45-9c81-5e6f7a8b9c0d",
  "event_type": "submission.created",
  "attempts": 6,
  "response_status_code": 503,
  "error_message": "status 503",
  "last_attempt_at": "2026-01-16T05:21:09.482Z"}'),
    ('webhook.endpoint_failing', 'Another endpoint of the auction is half way to being disabled',
        '{"endpoint_id": "uuid", "failing_since": "time", "failed_deliveries": "integer", "error_message": "string"}',
        '{
  "endpoint_id": "0f4a7c52-1b9e-4d83-a6c5-7e2d9b8f3a10",
  "failing_since": "2026-01-15T14:30:00.000Z",
  "failed_deliveries": 5,
  "error_message": "status 503"}'),
    ('webhook.endpoint_disabled', 'Another endpoint of the auction was disabled, because it fails or is gone',
        '{"endpoint_id": "uuid", "disabled_at": "time", "reason": "string"}',
        '{
  "endpoint_id": "0f4a7c52-1b9e-4d83-a6c5-7e2d9b8f3a10",
  "disabled_at": "2026-01-17T09:12:44.020Z",
  "reason": "10 deliveries in a row have used up all of their attempts; the last: status 503"}'),
    ('webhook.endpoint_recovered', 'Another endpoint of the auction that was failing or disabled receives again',
        '{"endpoint_id": "uuid", "failing_since": "time"}',
        '{
  "endpoint_id": "0f4a7c52-1b9e-4d83-a6c5-7e2d9b8f3a10",
  "failing_since": "2026-01-15T14:30:00.000Z"}')
) as event (event_type, description, shape, example);

create table webhook_delivery.endpoint_health (
    endpoint_id uuid not null,
    failing_since timestamptz not null,
    failed_deliveries integer not null,
    is_notified boolean not null default false,
    constraint an_endpoint_fails_once primary key (endpoint_id),
    constraint failed_deliveries_is_not_negative check (failed_deliveries >= 0)
);

comment on table webhook_delivery.endpoint_health is 'Endpoints that have failed since their last success. Failures before the endpoint was last changed do not count';
comment on column webhook_delivery.endpoint_health.endpoint_id is 'The endpoint';
comment on column webhook_delivery.endpoint_health.failing_since is 'Time of the first failed attempt since the last success';
comment on column webhook_delivery.endpoint_health.failed_deliveries is 'Number of deliveries in a row that have used up all of their attempts';
comment on column webhook_delivery.endpoint_health.is_notified is 'Whether webhook.endpoint_failing or webhook.endpoint_disabled was sent, so that the next success sends webhook.endpoint_recovered';

select pg_catalog.pg_extension_config_dump('webhook_delivery.endpoint_health', '');

create function webhook_delivery.iso_time(moment timestamptz) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

comment on function webhook_delivery.iso_time(timestamptz) is 'Returns a time in the form of the body: ISO 8601 in UTC, with milliseconds';

create function webhook_delivery.emit_operational_event(event_type text, auction_id uuid, about uuid, data json) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    moment constant timestamptz := clock_timestamp();
    event_id constant uuid := webhook_delivery.uuid_v7();
begin
    with wanting as materialized (
        select wanted.endpoint_id
        from webhook_delivery.subscriptions as wanted
        where wanted.auction_id = emit_operational_event.auction_id
            and wanted.endpoint_id <> about
            and wanted.events && array[emit_operational_event.event_type, 'webhook.*']
    ), event as (
        -- The endpoint is the event's row, so that its operational events arrive in order.
        insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
        select event_id, emit_operational_event.auction_id, emit_operational_event.event_type, moment, about, emit_operational_event.data
        where exists (select from wanting) or current_setting('webhook_delivery.record_all_events')::boolean
    )
    insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
    select moment, webhook_delivery.uuid_v7(), emit_operational_event.auction_id, wanting.endpoint_id, event_id, emit_operational_event.event_type
    from wanting;
    if found then
        perform webhook_delivery.wake(moment);
    end if;
    -- Any role that can connect can LISTEN, so the payload has only ids.
    perform pg_notify('webhook_delivery', json_build_object('event', event_type, 'auction_id', auction_id, 'endpoint_id', about,
        'delivery_id', data -> 'delivery_id')::text);
end
$$;

comment on function webhook_delivery.emit_operational_event(text, uuid, uuid, json) is
    'Sends an operational event to the endpoints of the auction whose events name it or webhook.*, except the endpoint that it is about, and a NOTIFY on the channel webhook_delivery';

create function webhook_delivery.notify_failed_deliveries(
    delivery_ids uuid[], auction_ids uuid[], endpoint_ids uuid[], event_types text[], attempts smallint[],
    response_status_codes smallint[], error_messages text[], attempted_at timestamptz[]
) returns void
    language sql volatile security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select webhook_delivery.emit_operational_event('webhook.delivery_failed', failed.auction_id, failed.endpoint_id, json_build_object(
        'endpoint_id', failed.endpoint_id,
        'delivery_id', failed.delivery_id,
        'event_type', failed.event_type,
        'attempts', failed.attempt,
        'response_status_code', failed.response_status_code,
        'error_message', left(failed.error_message, 500),
        'last_attempt_at', webhook_delivery.iso_time(failed.attempted_at)))
    from unnest(delivery_ids, auction_ids, endpoint_ids, event_types, attempts, response_status_codes, error_messages, attempted_at)
        as failed (delivery_id, auction_id, endpoint_id, event_type, attempt, response_status_code, error_message, attempted_at)
    join public.webhook_endpoints as endpoint on endpoint.id = failed.endpoint_id and endpoint.auction_id = failed.auction_id
    -- A failed operational event causes no other: two endpoints that receive each other's events
    -- would never stop.
    where split_part(failed.event_type, '.', 1) <> 'webhook'
    $$;

comment on function webhook_delivery.notify_failed_deliveries(uuid[], uuid[], uuid[], text[], smallint[], smallint[], text[], timestamptz[]) is
    'Sends webhook.delivery_failed for each of these deliveries: arrays of equal length. For the worker';

-- Steps of record_endpoint_health(), with its rights.
create function webhook_delivery.record_recoveries(endpoint_ids uuid[])
    returns table (endpoint_id uuid, auction_id uuid, event_type text, reason text)
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$
    with recovered as (
        delete from webhook_delivery.endpoint_health as health
        where health.endpoint_id = any (endpoint_ids)
        returning health.endpoint_id, health.failing_since, health.is_notified
    ), notified as (
        select endpoint.id, endpoint.auction_id, webhook_delivery.emit_operational_event(
            'webhook.endpoint_recovered', endpoint.auction_id, endpoint.id, json_build_object(
                'endpoint_id', endpoint.id, 'failing_since', webhook_delivery.iso_time(recovered.failing_since)))
        from recovered
        join public.webhook_endpoints as endpoint on endpoint.id = recovered.endpoint_id
        where recovered.is_notified
    )
    select notified.id, notified.auction_id, 'webhook.endpoint_recovered', null from notified
    $$;

comment on function webhook_delivery.record_recoveries(uuid[]) is
    'Ends the failing of endpoints that have succeeded. Returns those of which webhook.endpoint_recovered was sent';

create function webhook_delivery.forget_earlier_failures(endpoint_ids uuid[], failing_since timestamptz[]) returns void
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$
    delete from webhook_delivery.endpoint_health as health
    where not exists (select from public.webhook_endpoints as endpoint where endpoint.id = health.endpoint_id);
    update webhook_delivery.endpoint_health as health set failed_deliveries = 0, failing_since = given.failing_since
    from unnest(endpoint_ids, forget_earlier_failures.failing_since) as given (endpoint_id, failing_since)
    join public.webhook_endpoints as endpoint on endpoint.id = given.endpoint_id
    where health.endpoint_id = given.endpoint_id and given.failing_since is not null and health.failing_since < endpoint.updated_at
    $$;

comment on function webhook_delivery.forget_earlier_failures(uuid[], timestamptz[]) is
    'Deletes the health of deleted endpoints, and resets what was counted before an endpoint was last changed, such as by enabling it';

create function webhook_delivery.count_failures(
    endpoint_ids uuid[], failing_since timestamptz[], failed_deliveries integer[], gone boolean[], error_messages text[],
    disable_after_failures integer, disable_after interval
) returns table (
    endpoint_id uuid, auction_id uuid, since timestamptz, deliveries integer, is_gone boolean, is_notified boolean,
    error_message text, progress double precision)
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$
    with given as (
        select failed.*, endpoint.auction_id
        from unnest(endpoint_ids, count_failures.failing_since, failed_deliveries, gone, error_messages)
            as failed (endpoint_id, failing_since, failed_deliveries, is_gone, error_message)
        join public.webhook_endpoints as endpoint on endpoint.id = failed.endpoint_id
        where endpoint.is_active and failed.failing_since >= endpoint.updated_at
    ), counted as (
        insert into webhook_delivery.endpoint_health as health (endpoint_id, failing_since, failed_deliveries)
        select given.endpoint_id, given.failing_since, given.failed_deliveries from given
        on conflict on constraint an_endpoint_fails_once do update set
            failing_since = least(health.failing_since, excluded.failing_since),
            failed_deliveries = health.failed_deliveries + excluded.failed_deliveries
        returning health.*
    )
    select counted.endpoint_id, given.auction_id, counted.failing_since, counted.failed_deliveries, given.is_gone, counted.is_notified,
        left(given.error_message, 500),
        greatest(
            coalesce(counted.failed_deliveries / nullif(disable_after_failures, 0)::double precision, 0),
            coalesce(extract(epoch from clock_timestamp() - counted.failing_since) / nullif(extract(epoch from disable_after), 0), 0))
    from counted
    join given on given.endpoint_id = counted.endpoint_id
    $$;

comment on function webhook_delivery.count_failures(uuid[], timestamptz[], integer[], boolean[], text[], integer, interval) is
    'Adds failures to the health of their endpoints. Returns each with its progress towards being disabled: 1 is the limit';

create function webhook_delivery.disable_endpoint_on_coordinator(endpoint_id uuid, auction_id uuid, reason text) returns boolean
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    answer record;
begin
    -- For the transaction. The worker has other work than to wait for a coordinator that is down.
    perform set_config('citus.node_connection_timeout', '2000', true);
    execute 'select success, result from run_command_on_coordinator($1)' into answer
        using format('select webhook_delivery.disable_endpoint(%L, %L, %L)', endpoint_id, auction_id, reason);
    if answer.success then
        return answer.result = 't';
    end if;
    raise warning using message = format('could not disable endpoint %s on the coordinator: %s', endpoint_id, answer.result),
        hint = 'The next failure tries again.';
    return null;
exception when others then
    raise warning using errcode = sqlstate, message = format('could not disable endpoint %s on the coordinator: %s', endpoint_id, sqlerrm),
        hint = 'The next failure tries again.';
    return null;
end
$$;

comment on function webhook_delivery.disable_endpoint_on_coordinator(uuid, uuid, text) is
    'Has the coordinator of Citus disable an endpoint, from which all nodes receive the change. Returns null, with a WARNING, if it does not answer; the next failure tries again';

-- Here and in record_endpoint_health() only ENABLE ALWAYS triggers on the endpoints fire: a role that
-- can attach a trigger must not act as the extension's owner.
create function webhook_delivery.disable_endpoint(endpoint_id uuid, auction_id uuid, reason text) returns boolean
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    set session_replication_role = replica
    -- For a node of Citus that calls it: its worker has other work than to wait long for a lock here.
    set lock_timeout = '1s'
    as $$
begin
    if webhook_delivery.citus_is_worker() then
        return webhook_delivery.disable_endpoint_on_coordinator(endpoint_id, auction_id, reason);
    end if;
    -- Does not wait for a session that changes the endpoint: the next failure comes here again.
    perform from public.webhook_endpoints as endpoint
    where endpoint.id = disable_endpoint.endpoint_id and endpoint.is_active
    for no key update skip locked;
    if not found then
        return false;
    end if;
    update public.webhook_endpoints as endpoint
    set is_active = false, disabled_at = clock_timestamp(), disabled_reason = disable_endpoint.reason
    where endpoint.id = disable_endpoint.endpoint_id;
    perform webhook_delivery.emit_operational_event('webhook.endpoint_disabled', auction_id, endpoint_id, json_build_object(
        'endpoint_id', endpoint_id, 'disabled_at', webhook_delivery.iso_time(clock_timestamp()), 'reason', reason));
    return true;
end
$$;

comment on function webhook_delivery.disable_endpoint(uuid, uuid, text) is
    'Disables an endpoint and sends webhook.endpoint_disabled; on another node of Citus, has the coordinator do so. Returns false if a session is changing the endpoint, or has disabled it; null if the coordinator does not answer';

create function webhook_delivery.record_endpoint_health(
    endpoint_ids uuid[], succeeded boolean[], failing_since timestamptz[], failed_deliveries integer[], gone boolean[],
    error_messages text[], disable_after_failures integer, disable_after interval
) returns table (endpoint_id uuid, auction_id uuid, event_type text, reason text)
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    set session_replication_role = replica
    as $$
declare
    failing record;
    disabled boolean := false;
begin
    return query select * from webhook_delivery.record_recoveries(array(
        select given.id from unnest(endpoint_ids, succeeded) as given (id, has_succeeded) where given.has_succeeded));
    perform webhook_delivery.forget_earlier_failures(endpoint_ids, failing_since);
    for failing in
        select * from webhook_delivery.count_failures(
            endpoint_ids, failing_since, failed_deliveries, gone, error_messages, disable_after_failures, disable_after) as counted
        where counted.is_gone or counted.progress >= 1 or counted.progress >= 0.5 and not counted.is_notified
    loop
        endpoint_id := failing.endpoint_id;
        auction_id := failing.auction_id;
        if failing.is_gone or failing.progress >= 1 then
            event_type := 'webhook.endpoint_disabled';
            reason := case
                when failing.is_gone then 'the receiver has answered 410 Gone'
                when failing.deliveries >= nullif(disable_after_failures, 0) then
                    format('%s deliveries in a row have used up all of their attempts; the last: %s', failing.deliveries, failing.error_message)
                else
                    format('nothing has succeeded since %s; the last: %s', webhook_delivery.iso_time(failing.since), failing.error_message)
            end;
            -- A coordinator that does not answer is not asked again now.
            disabled := case when disabled is not null then webhook_delivery.disable_endpoint(endpoint_id, auction_id, reason) end;
            continue when disabled is not true;
        else
            event_type := 'webhook.endpoint_failing';
            reason := failing.error_message;
            perform webhook_delivery.emit_operational_event(event_type, auction_id, endpoint_id, json_build_object(
                'endpoint_id', endpoint_id, 'failing_since', webhook_delivery.iso_time(failing.since),
                'failed_deliveries', failing.deliveries, 'error_message', failing.error_message));
        end if;
        update webhook_delivery.endpoint_health as health set is_notified = true
        where health.endpoint_id = record_endpoint_health.endpoint_id;
        return next;
    end loop;
end
$$;

comment on function webhook_delivery.record_endpoint_health(uuid[], boolean[], timestamptz[], integer[], boolean[], text[], integer, interval) is
    'Records the health of endpoints, in arrays of equal length: whether each has succeeded; since when attempts have failed after that, or null; how many deliveries have used up all attempts; whether a response was 410; the last error. Disables endpoints that have failed for too long. Returns the operational events that were sent. For the worker';
