-- Does my endpoint receive and verify what is sent to it?

create function @extschema@.test_webhook(
    endpoint_id uuid, event_type text, out delivery_id uuid, out status text, out follow text
)
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    endpoint_auction_id uuid;
    sample json;
    event_id constant uuid := webhook_delivery.uuid_v7();
    moment constant timestamptz := clock_timestamp();
begin
    select endpoint.auction_id into endpoint_auction_id
    from @extschema@.webhook_endpoints as endpoint where endpoint.id = test_webhook.endpoint_id;
    if endpoint_auction_id is null or not webhook_delivery.has_access(endpoint_auction_id) then
        -- The same words for both: nobody learns that another's endpoint exists.
        raise exception using
            errcode = 'PT404',
            message = format('there is no webhook endpoint %s', test_webhook.endpoint_id),
            hint = format('select id, url from %s shows the endpoints that you may test.', '@extschema@.webhook_endpoints'::regclass);
    end if;
    select known.example into sample
    from @extschema@.webhook_event_types as known where known.event_type = test_webhook.event_type;
    if sample is null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', test_webhook.event_type),
            hint = format('Known event types: %s.',
                (select string_agg(known.event_type, ', ' order by known.event_type) from @extschema@.webhook_event_types as known));
    end if;

    delivery_id := webhook_delivery.uuid_v7();
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
    values (event_id, endpoint_auction_id, test_webhook.event_type, moment, sample);
    insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, is_test)
    values (moment, delivery_id, endpoint_auction_id, test_webhook.endpoint_id, event_id, true);
    perform webhook_delivery.wake(moment);
    status := 'pending';
    follow := format('select * from %s where id = %L', '@extschema@.webhook_deliveries'::regclass, delivery_id);
end
$$;

comment on function @extschema@.test_webhook(uuid, text) is
    'Sends the catalogue''s example of this event type to the endpoint, once, also to a disabled one. Gives back the delivery''s id and the query that shows what became of it. Unknown endpoint: PT404 (PostgREST answers 404); unknown type: 22023';
