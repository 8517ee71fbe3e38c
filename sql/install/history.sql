-- The history of deliveries and attempts.

-- Two selects without conditions, each from a single table: the planner therefore reads a page from
-- the indexes, however many deliveries there are. Row-level security decides which rows a caller
-- sees.
create view public.webhook_deliveries with (security_invoker) as
    select
        delivery_id as id,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        case when attempts = 0 then 'pending'::public.webhook_delivery_status else 'retrying' end as status,
        attempts::integer as attempts,
        response_status_code,
        response_time_ms,
        error_kind,
        error_message,
        is_test,
        webhook_delivery.uuid_v7_time(delivery_id) as created_at,
        attempted_at as last_attempt_at,
        webhook_delivery.next_attempt_at(due_at, not_before, end_reason) as next_attempt_at,
        null::timestamptz as completed_at
    from webhook_delivery.queue
    union all
    select
        delivery_id,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        status,
        -- A delivery whose endpoint or event was deleted ends with a row that is not a request.
        attempt - case when response_time_ms is null then 1 else 0 end,
        response_status_code,
        response_time_ms,
        error_kind,
        error_message,
        is_test,
        created_at,
        attempted_at,
        null,
        attempted_at + coalesce(response_time_ms, 0) * interval '1 millisecond'
    from webhook_delivery.attempts_ended;

comment on view public.webhook_deliveries is
    'Deliveries of the auctions that you may see: pending (no attempt made yet), retrying, success or failed';
comment on column public.webhook_deliveries.id is
    'Identifier of the delivery: the webhook_id of body and headers, which is the same in every attempt';
comment on column public.webhook_deliveries.auction_id is 'Auction of the event and the endpoint';
comment on column public.webhook_deliveries.endpoint_id is 'Endpoint that receives the delivery';
comment on column public.webhook_deliveries.event_id is 'Event that the delivery carries; deliveries of one event to several endpoints share it';
comment on column public.webhook_deliveries.event_type is 'Type of the event';
comment on column public.webhook_deliveries.status is 'Status of the delivery: pending, retrying, success or failed';
comment on column public.webhook_deliveries.attempts is 'Number of attempts made so far';
comment on column public.webhook_deliveries.response_status_code is 'HTTP status of the last attempt; null if there was no response';
comment on column public.webhook_deliveries.response_time_ms is 'Milliseconds that the last attempt took';
comment on column public.webhook_deliveries.error_kind is 'Kind of error with which the last attempt failed, for programs; null after a success';
comment on column public.webhook_deliveries.error_message is 'Reason why the last attempt failed, for people; null after a success';
comment on column public.webhook_deliveries.is_test is 'Whether test_webhook() sent the delivery';
comment on column public.webhook_deliveries.created_at is 'Time at which the delivery was queued, with millisecond precision';
comment on column public.webhook_deliveries.last_attempt_at is 'Time at which the last attempt started';
comment on column public.webhook_deliveries.next_attempt_at is
    'Time at which the next attempt is due; null if the delivery has ended or is cancelled';
comment on column public.webhook_deliveries.completed_at is 'Time at which the delivery ended; null if it has not ended';

-- The WITH clause keeps the view from being updatable, even after a GRANT ALL.
create view public.webhook_delivery_attempts with (security_invoker) as
    with log as (
        select
            delivery_id,
            attempt::integer as attempt,
            auction_id,
            endpoint_id,
            event_id,
            event_type,
            status,
            response_status_code,
            response_time_ms,
            error_kind,
            error_message,
            response_excerpt,
            is_test,
            attempted_at,
            next_attempt_at
        from webhook_delivery.attempts
        where response_time_ms is not null
    )
    select * from log;

-- PostgREST takes the following functions for relationships between views, so that a request can
-- embed related rows: webhook_endpoints?select=*,webhook_deliveries(*). They have no SET clause,
-- because the planner does not inline a function with one, and would read all deliveries of an
-- endpoint if ten are requested. Names and operators are schema-qualified instead.
create function public.webhook_deliveries(endpoint public.webhook_endpoints) returns setof public.webhook_deliveries
    language sql stable
    as $$ select * from public.webhook_deliveries as delivery where delivery.endpoint_id operator(pg_catalog.=) endpoint.id $$;

comment on function public.webhook_deliveries(public.webhook_endpoints) is 'Returns the deliveries of an endpoint that you may see';

create function public.webhook_endpoints(delivery public.webhook_deliveries) returns setof public.webhook_endpoints
    language sql stable rows 1
    as $$ select * from public.webhook_endpoints as endpoint where endpoint.id operator(pg_catalog.=) delivery.endpoint_id $$;

comment on function public.webhook_endpoints(public.webhook_deliveries) is 'Returns the endpoint of a delivery; no row if the endpoint was deleted';

create function public.webhook_delivery_attempts(delivery public.webhook_deliveries) returns setof public.webhook_delivery_attempts
    language sql stable rows 6
    as $$ select * from public.webhook_delivery_attempts as made where made.delivery_id operator(pg_catalog.=) delivery.id $$;

comment on function public.webhook_delivery_attempts(public.webhook_deliveries) is 'Returns the requests made for a delivery';

create function public.webhook_deliveries(attempt public.webhook_delivery_attempts) returns setof public.webhook_deliveries
    language sql stable rows 1
    as $$ select * from public.webhook_deliveries as delivery where delivery.id operator(pg_catalog.=) attempt.delivery_id $$;

comment on function public.webhook_deliveries(public.webhook_delivery_attempts) is 'Returns the delivery of an attempt, for embedding by PostgREST';

comment on view public.webhook_delivery_attempts is 'Requests made for the deliveries of the auctions that you may see';
comment on column public.webhook_delivery_attempts.delivery_id is 'Delivery for which the request was made';
comment on column public.webhook_delivery_attempts.attempt is 'Number of the attempt: 1 for the first request of a delivery';
comment on column public.webhook_delivery_attempts.auction_id is 'Auction of the event and the endpoint';
comment on column public.webhook_delivery_attempts.endpoint_id is 'Endpoint to which the request was sent';
comment on column public.webhook_delivery_attempts.event_id is 'Event that the request carried';
comment on column public.webhook_delivery_attempts.event_type is 'Type of the event';
comment on column public.webhook_delivery_attempts.status is 'Status of the attempt: success (a 2xx response) or failed';
comment on column public.webhook_delivery_attempts.response_status_code is 'HTTP status of the response; null if there was no response';
comment on column public.webhook_delivery_attempts.response_time_ms is 'Milliseconds from the start of the request to its end';
comment on column public.webhook_delivery_attempts.error_kind is 'Kind of error with which the attempt failed, for programs; null after a success';
comment on column public.webhook_delivery_attempts.error_message is 'Reason why the attempt failed, for people; null after a success';
comment on column public.webhook_delivery_attempts.response_excerpt is 'Beginning of the response of a failed attempt, at most 1 kB';
comment on column public.webhook_delivery_attempts.is_test is 'Whether test_webhook() sent the delivery';
comment on column public.webhook_delivery_attempts.attempted_at is 'Time at which the request started';
comment on column public.webhook_delivery_attempts.next_attempt_at is 'Time at which the next attempt was due; null if this one ended the delivery';
