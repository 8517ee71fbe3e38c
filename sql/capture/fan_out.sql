-- How does an event become one queue row for each endpoint that wants it?

create function webhook_delivery.event_patterns(event_type text) returns text[]
    language sql stable parallel safe
    -- Without SET search_path, which would keep the planner from inlining it; every name is qualified.
    as $$ select array[event_type, pg_catalog.concat(pg_catalog.split_part(event_type, '.', 1), '.*'), '*'] $$;

comment on function webhook_delivery.event_patterns(text) is
    'The entries of webhook_endpoints.events that an event of this type matches';

create function webhook_delivery.fan_out(
    event_type text, occurred_at timestamptz, auction_ids uuid[], row_ids uuid[], payloads json[], out events_written bigint, out an_event_id uuid
)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    moment constant timestamptz := clock_timestamp();
    patterns constant text[] := webhook_delivery.event_patterns(event_type);
begin
    with event as materialized (
        select webhook_delivery.uuid_v7() as id, payload.auction_id, payload.row_id, payload.data,
            array(
                select wanted.endpoint_id from webhook_delivery.subscriptions as wanted
                where wanted.auction_id = payload.auction_id and wanted.events && patterns
            ) as endpoint_ids
        from unnest(auction_ids, row_ids, payloads) as payload(auction_id, row_id, data)
    ), stored as (
        insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
        select event.id, event.auction_id, fan_out.event_type, fan_out.occurred_at, event.row_id, event.data
        from event
        where event.endpoint_ids <> '{}'
        returning id
    ), queued as (
        insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id)
        select moment, webhook_delivery.uuid_v7(), event.auction_id, unnest(event.endpoint_ids), event.id
        from event
    )
    select count(*), (array_agg(stored.id))[1] into events_written, an_event_id from stored;
    if events_written > 0 then
        -- Where the worker has read past this moment when we commit, it goes back to it.
        perform webhook_delivery.wake(moment);
    end if;
end
$$;

comment on function webhook_delivery.fan_out(text, timestamptz, uuid[], uuid[], json[]) is
    'Writes the events that at least one active endpoint wants, and a queue row for each of those endpoints; gives back how many events were written, and the id of one of them';

create function webhook_delivery.emit(event text, auction_id uuid, data json) returns uuid
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_generic_plan
    as $$
begin
    if event is null or auction_id is null or data is null then
        raise exception using errcode = 'null_value_not_allowed', message = 'emit() needs event, auction_id and data',
            hint = 'Use ''{}'' for an event without data.';
    end if;
    if not exists (select from @extschema@.webhook_event_types as known where known.event_type = event) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', event),
            hint = format('Add it to %s first. Known event types: %s.', '@extschema@.webhook_event_types'::regclass,
                (select string_agg(known.event_type, ', ' order by known.event_type) from @extschema@.webhook_event_types as known));
    end if;
    return (select an_event_id from webhook_delivery.fan_out(event, clock_timestamp(), array[auction_id], null, array[data]));
end
$$;

comment on function webhook_delivery.emit(text, uuid, json) is
    'Sends an event of your own to the endpoints of the auction that want it, if the transaction commits. Gives back the event''s id, null when no endpoint wants it. Grant EXECUTE to the roles that may speak for every auction';
