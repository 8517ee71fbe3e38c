-- test_webhook(): sends a test to an endpoint.

create function webhook_delivery.visible_auction(endpoint_id uuid) returns uuid
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select endpoint.auction_id from public.webhook_endpoints as endpoint where endpoint.id = endpoint_id $$;

comment on function webhook_delivery.visible_auction(uuid) is 'Returns the auction of an endpoint that the caller sees; null if there is no such endpoint';

create function webhook_delivery.refuse_unknown_endpoint(endpoint_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- The message is the same if the endpoint does not exist and if the caller does not see it: the
    -- caller does not learn that an endpoint of another auction exists.
    raise exception using
        errcode = 'PT404',
        message = format('webhook endpoint %s does not exist', endpoint_id),
        hint = 'select id, url from public.webhook_endpoints shows the endpoints that you see.';
end
$$;

comment on function webhook_delivery.refuse_unknown_endpoint(uuid) is 'Raises PT404: the caller sees no such endpoint';

create function webhook_delivery.follow_delivery(delivery_id uuid) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$ select format('select * from public.webhook_deliveries where id = %L', delivery_id) $$;

comment on function webhook_delivery.follow_delivery(uuid) is 'Returns the query that shows the outcome of a delivery';

-- Runs with the caller's rights, which decide whether the caller sees the endpoint; only
-- queue_test() runs with the rights of the extension's owner.
create function public.test_webhook(endpoint_id uuid, event_type text) returns public.webhook_queued_delivery
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    delivery_id uuid;
begin
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    delivery_id := webhook_delivery.queue_test(endpoint_id, event_type);
    if delivery_id is null and exists (select from public.webhook_event_types as known where known.event_type = test_webhook.event_type) then
        raise exception using
            errcode = 'PT429',
            message = format('an auction can send at most %s tests within a minute',
                current_setting('webhook_delivery.tests_per_minute')),
            hint = 'Wait a minute, or have an administrator raise webhook_delivery.tests_per_minute.';
    elsif delivery_id is null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', left(test_webhook.event_type, 100)),
            hint = format('Known event types: %s.',
                (select string_agg(known.event_type, ', ' order by known.event_type) from public.webhook_event_types as known));
    end if;
    return row(delivery_id, 'pending'::public.webhook_delivery_status, webhook_delivery.follow_delivery(delivery_id));
end
$$;

comment on function public.test_webhook(uuid, text) is
    'Sends the catalogue''s example of this event type to the endpoint, once, even if the endpoint is disabled. Returns the delivery''s id and the query that shows its outcome. Raises PT404 for an unknown endpoint (PostgREST answers 404), 22023 for an unknown event type, PT429 for too many tests';
