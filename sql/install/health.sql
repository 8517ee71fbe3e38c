-- Endpoints that keep failing: they are disabled, and events say so.

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

comment on table webhook_delivery.endpoint_health is 'Endpoints that have failed since they last succeeded. What was counted before an endpoint was last changed counts no more';
comment on column webhook_delivery.endpoint_health.endpoint_id is 'The endpoint';
comment on column webhook_delivery.endpoint_health.failing_since is 'When the first attempt failed after the last success';
comment on column webhook_delivery.endpoint_health.failed_deliveries is 'Deliveries in a row that have used up all of their attempts';
comment on column webhook_delivery.endpoint_health.is_notified is 'Whether webhook.endpoint_failing or endpoint_disabled was sent: then the next success is news';

select pg_catalog.pg_extension_config_dump('webhook_delivery.endpoint_health', '');

create function webhook_delivery.iso_time(moment timestamptz) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

comment on function webhook_delivery.iso_time(timestamptz) is 'A time as bodies have it: ISO 8601 in UTC, with milliseconds';

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
        -- The endpoint is the row that it tells of: such events arrive in their order.
        insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
        select event_id, emit_operational_event.auction_id, emit_operational_event.event_type, moment, about, emit_operational_event.data
        where exists (select from wanting)
    )
    insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
    select moment, webhook_delivery.uuid_v7(), emit_operational_event.auction_id, wanting.endpoint_id, event_id, emit_operational_event.event_type
    from wanting;
    if found then
        perform webhook_delivery.wake(moment);
    end if;
    -- Every role that can connect can LISTEN: ids only.
    perform pg_notify('webhook_delivery', json_build_object('event', event_type, 'auction_id', auction_id, 'endpoint_id', about,
        'delivery_id', data -> 'delivery_id')::text);
end
$$;

comment on function webhook_delivery.emit_operational_event(text, uuid, uuid, json) is
    'Sends an operational event to the endpoints of the auction that name it, or webhook.*, in their events, but for the one that it is about; and a NOTIFY on the channel webhook_delivery';

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
    -- Nothing is told of what was told: two endpoints that hear of each other would never be quiet.
    where split_part(failed.event_type, '.', 1) <> 'webhook'
    $$;

comment on function webhook_delivery.notify_failed_deliveries(uuid[], uuid[], uuid[], text[], smallint[], smallint[], text[], timestamptz[]) is
    'Sends webhook.delivery_failed for each of these deliveries: arrays of equal length. For the worker';

-- Only ENABLE ALWAYS triggers on the endpoints run: a role that can attach a trigger must not act as our owner.
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
begin
    for failing in
        with given as (
            select noted.endpoint_id from unnest(endpoint_ids, succeeded) as noted (endpoint_id, succeeded) where noted.succeeded
        ), well as (
            delete from webhook_delivery.endpoint_health as health using given where health.endpoint_id = given.endpoint_id
            returning health.endpoint_id, health.failing_since, health.is_notified
        )
        select well.*, endpoint.auction_id
        from well
        join public.webhook_endpoints as endpoint on endpoint.id = well.endpoint_id
        where well.is_notified
    loop
        endpoint_id := failing.endpoint_id;
        auction_id := failing.auction_id;
        event_type := 'webhook.endpoint_recovered';
        reason := null;
        perform webhook_delivery.emit_operational_event(event_type, auction_id, endpoint_id, json_build_object(
            'endpoint_id', endpoint_id, 'failing_since', webhook_delivery.iso_time(failing.failing_since)));
        return next;
    end loop;

    -- Forgotten is what is gone, and what was counted before the endpoint was changed: by enabling it, for one.
    delete from webhook_delivery.endpoint_health as health
    where not exists (select from public.webhook_endpoints as endpoint where endpoint.id = health.endpoint_id);
    update webhook_delivery.endpoint_health as health set failed_deliveries = 0, failing_since = noted.failing_since
    from unnest(endpoint_ids, record_endpoint_health.failing_since) as noted (endpoint_id, failing_since)
    join public.webhook_endpoints as endpoint on endpoint.id = noted.endpoint_id
    where health.endpoint_id = noted.endpoint_id and noted.failing_since is not null and health.failing_since < endpoint.updated_at;

    for failing in
        with given as (
            select noted.*, endpoint.auction_id
            from unnest(endpoint_ids, record_endpoint_health.failing_since, record_endpoint_health.failed_deliveries, gone, error_messages)
                as noted (endpoint_id, failing_since, failed_deliveries, is_gone, error_message)
            join public.webhook_endpoints as endpoint on endpoint.id = noted.endpoint_id
            where endpoint.is_active and noted.failing_since >= endpoint.updated_at
        ), counted as (
            insert into webhook_delivery.endpoint_health as health (endpoint_id, failing_since, failed_deliveries)
            select given.endpoint_id, given.failing_since, given.failed_deliveries from given
            on conflict on constraint an_endpoint_fails_once do update set
                failing_since = least(health.failing_since, excluded.failing_since),
                failed_deliveries = health.failed_deliveries + excluded.failed_deliveries
            returning health.*
        )
        select counted.*, given.auction_id, given.is_gone, left(given.error_message, 500) as error_message, judged.part_of_the_way
        from counted
        join given on given.endpoint_id = counted.endpoint_id
        cross join lateral (
            -- How far it is on the way to being disabled, 1 being there.
            select greatest(
                coalesce(counted.failed_deliveries / nullif(disable_after_failures, 0)::double precision, 0),
                coalesce(extract(epoch from clock_timestamp() - counted.failing_since)
                    / nullif(extract(epoch from disable_after), 0), 0)) as part_of_the_way
        ) as judged
        where given.is_gone or judged.part_of_the_way >= 1 or judged.part_of_the_way >= 0.5 and not counted.is_notified
    loop
        endpoint_id := failing.endpoint_id;
        auction_id := failing.auction_id;
        if failing.is_gone or failing.part_of_the_way >= 1 then
            reason := case
                when failing.is_gone then 'the receiver has answered 410 Gone'
                when failing.failed_deliveries >= nullif(disable_after_failures, 0) then
                    format('%s deliveries in a row have used up all of their attempts; the last: %s',
                        failing.failed_deliveries, failing.error_message)
                else
                    format('nothing has succeeded since %s; the last: %s',
                        webhook_delivery.iso_time(failing.failing_since), failing.error_message)
            end;
            -- A session that is changing the endpoint is not waited for: the next failure comes here again.
            perform from public.webhook_endpoints as endpoint
            where endpoint.id = record_endpoint_health.endpoint_id and endpoint.is_active
            for no key update skip locked;
            continue when not found;
            update public.webhook_endpoints as endpoint
            set is_active = false, disabled_at = clock_timestamp(), disabled_reason = record_endpoint_health.reason
            where endpoint.id = record_endpoint_health.endpoint_id;
            event_type := 'webhook.endpoint_disabled';
            perform webhook_delivery.emit_operational_event(event_type, auction_id, endpoint_id, json_build_object(
                'endpoint_id', endpoint_id, 'disabled_at', webhook_delivery.iso_time(clock_timestamp()), 'reason', reason));
        else
            event_type := 'webhook.endpoint_failing';
            reason := failing.error_message;
            perform webhook_delivery.emit_operational_event(event_type, auction_id, endpoint_id, json_build_object(
                'endpoint_id', endpoint_id, 'failing_since', webhook_delivery.iso_time(failing.failing_since),
                'failed_deliveries', failing.failed_deliveries, 'error_message', failing.error_message));
        end if;
        update webhook_delivery.endpoint_health as health set is_notified = true where health.endpoint_id = record_endpoint_health.endpoint_id;
        return next;
    end loop;
end
$$;

comment on function webhook_delivery.record_endpoint_health(uuid[], boolean[], timestamptz[], integer[], boolean[], text[], integer, interval) is
    'Notes how endpoints do: whether they have succeeded, and since then since when attempts fail (null: none does), how many deliveries have used up theirs, whether one was answered with 410, and the last error: arrays of equal length. Disables those that have failed for too long, tells of it, and returns what was told. For the worker';
