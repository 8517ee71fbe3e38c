-- test_webhook(): sends a test to an endpoint.

create function webhook_delivery.visible_auction(endpoint_id uuid) returns uuid
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select endpoint.auction_id from public.webhook_endpoints as endpoint where endpoint.id = endpoint_id $$;

comment on function webhook_delivery.visible_auction(uuid) is 'The auction of an endpoint that the caller can see; null if there is no such endpoint';

create function webhook_delivery.refuse_unknown_endpoint(endpoint_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- The same message for both, so that a caller does not learn that another's endpoint exists.
    raise exception using
        errcode = 'PT404',
        message = format('there is no webhook endpoint %s', endpoint_id),
        hint = 'select id, url from public.webhook_endpoints shows the endpoints that you see.';
end
$$;

comment on function webhook_delivery.refuse_unknown_endpoint(uuid) is 'Says (PT404) that the caller sees no such endpoint';

-- Runs with the caller's rights, which decide whether the endpoint is seen; only the queueing is done with ours.
create function public.test_webhook(
    endpoint_id uuid, event_type text, out delivery_id uuid, out status text, out follow text
)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    delivery_id := webhook_delivery.queue_test(endpoint_id, event_type);
    if delivery_id is null and exists (select from public.webhook_event_types as known where known.event_type = test_webhook.event_type) then
        raise exception using
            errcode = 'PT429',
            message = format('the auction has sent %s tests within a minute, and no more are allowed',
                current_setting('webhook_delivery.tests_per_minute')),
            hint = 'Wait a minute, or have an administrator raise webhook_delivery.tests_per_minute.';
    elsif delivery_id is null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', left(test_webhook.event_type, 100)),
            hint = format('Known event types: %s.',
                (select string_agg(known.event_type, ', ' order by known.event_type) from public.webhook_event_types as known));
    end if;
    status := 'pending';
    follow := format('select * from public.webhook_deliveries where id = %L', delivery_id);
end
$$;

comment on function public.test_webhook(uuid, text) is
    'Sends the catalogue''s example of this event type to the endpoint, once, also to a disabled one. Returns the delivery''s id and the query that shows what became of it. Unknown endpoint: PT404 (PostgREST answers 404); unknown type: 22023; too often: PT429';
