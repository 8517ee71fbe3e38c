-- test_webhook(): sends a test to an endpoint.

create function webhook_delivery.visible_auction(endpoint_id uuid) returns uuid
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select endpoint.auction_id from public.webhook_endpoints as endpoint where endpoint.id = endpoint_id $$;

comment on function webhook_delivery.visible_auction(uuid) is 'Returns the auction of an endpoint that the caller sees; null if there is no such endpoint';

create function webhook_delivery.is_rest_call() returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(current_setting('request.method', true), '') <> '' $$;

comment on function webhook_delivery.is_rest_call() is
    'Whether PostgREST has begun the transaction: then hints name REST paths instead of statements';

create function webhook_delivery.query_hint(statement text, path text, shown text) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select format('%s shows %s.', case when webhook_delivery.is_rest_call() then 'GET ' || path else statement end, shown) $$;

comment on function webhook_delivery.query_hint(text, text, text) is 'Returns a HINT that names a statement, or over REST the path of a request';

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
        hint = webhook_delivery.query_hint('select id, url from public.webhook_endpoints', '/webhook_endpoints?select=id,url',
            'the endpoints that you see');
end
$$;

comment on function webhook_delivery.refuse_unknown_endpoint(uuid) is 'Raises PT404: the caller sees no such endpoint';

create function webhook_delivery.follow_delivery(delivery_id uuid) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select format(case when webhook_delivery.is_rest_call() then '/webhook_deliveries?id=eq.%s'
        else 'select * from public.webhook_deliveries where id = %L' end, delivery_id)
    $$;

comment on function webhook_delivery.follow_delivery(uuid) is 'Returns the query, or the REST path, that shows the outcome of a delivery';

create function webhook_delivery.queued_delivery(delivery_id uuid, status public.webhook_delivery_status)
    returns public.webhook_queued_delivery
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select delivery_id, status, webhook_delivery.follow_delivery(delivery_id), case when exists (
            select from public.webhook_deliveries as delivery
            join webhook_delivery.pauses as pause
                on pause.endpoint_id = delivery.endpoint_id or pause.auction_id = delivery.auction_id
            where delivery.id = queued_delivery.delivery_id)
        then 'The operator has paused deliveries to this endpoint: it is sent when they are resumed.' end
    $$;

comment on function webhook_delivery.queued_delivery(uuid, public.webhook_delivery_status) is
    'Returns the answer of the calls that queue a delivery';

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
    if delivery_id is not null then
        return webhook_delivery.queued_delivery(delivery_id, 'pending');
    elsif exists (select from public.webhook_event_types as known where known.event_type = test_webhook.event_type) then
        raise exception using
            errcode = 'PT429',
            message = format('an auction can send at most %s tests within a minute', current_setting('webhook_delivery.tests_per_minute')),
            hint = 'Wait a minute, or have the operator raise webhook_delivery.tests_per_minute.';
    elsif event_type = '*' or event_type like '%.*' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('%s is not a single event type', left(event_type, 100)),
            hint = 'Give one event type, not a family: a test sends one event.';
    else
        perform webhook_delivery.refuse_unknown_event_types(array[event_type]);
    end if;
end
$$;

comment on function public.test_webhook(uuid, text) is
    'Sends the catalogue''s example of this event type to the endpoint, once, even if the endpoint is disabled. Returns the delivery''s id and the query that shows its outcome. Raises PT404 for an unknown endpoint (PostgREST answers 404), 22023 for an unknown event type, PT429 for too many tests';
