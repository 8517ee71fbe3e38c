-- How does code in the database send an event, and who wants it?

create function webhook_delivery.event_patterns(event_type text) returns text[]
    language sql stable parallel safe
    -- Without SET search_path, which would keep the planner from inlining it; every name is qualified.
    as $$ select array[event_type, pg_catalog.concat(pg_catalog.split_part(event_type, '.', 1), '.*'), '*'] $$;

comment on function webhook_delivery.event_patterns(text) is
    'The entries of webhook_endpoints.events that an event of this type matches';

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
            hint = format('Make it known with webhook_delivery.register_event_type() first. Known event types: %s.',
                (select string_agg(known.event_type, ', ' order by known.event_type) from @extschema@.webhook_event_types as known));
    end if;
    return webhook_delivery.write_event(event, auction_id, data::text);
end
$$;

comment on function webhook_delivery.emit(text, uuid, json) is
    'Sends an event of your own to the endpoints of the auction that want it, if the transaction commits. Gives back the event''s id, null when no endpoint wants it. Grant EXECUTE to the roles that may speak for every auction';
