-- The history of deliveries and attempts.

-- Two selects from one table each, without a condition: so the planner reads a page from the indexes, whatever else there is.
-- Row-level security decides which rows a caller sees.
create view public.webhook_deliveries with (security_invoker) as
    select
        delivery_id as id,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        (case when attempts = 0 then 'pending' else 'retrying' end)::public.webhook_delivery_status as status,
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
        -- The row that ends a delivery whose endpoint or event was gone stands for no request.
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
    'Every delivery of the auctions that you may see: pending (first attempt still to come), retrying, success or failed';
comment on column public.webhook_deliveries.id is 'The webhook_id of body and headers, the same in every attempt';
comment on column public.webhook_deliveries.auction_id is 'The auction of event and endpoint';
comment on column public.webhook_deliveries.endpoint_id is 'Where it goes';
comment on column public.webhook_deliveries.event_id is 'The event; deliveries of one event to several endpoints share it';
comment on column public.webhook_deliveries.event_type is 'The type of the event';
comment on column public.webhook_deliveries.status is 'pending, retrying, success or failed';
comment on column public.webhook_deliveries.attempts is 'Attempts made so far';
comment on column public.webhook_deliveries.response_status_code is 'HTTP status of the last attempt, null where no response came';
comment on column public.webhook_deliveries.response_time_ms is 'Milliseconds the last attempt took';
comment on column public.webhook_deliveries.error_kind is 'Why the last attempt failed, for programs; null after a success';
comment on column public.webhook_deliveries.error_message is 'Why the last attempt failed, for people; null after a success';
comment on column public.webhook_deliveries.is_test is 'Sent by test_webhook()';
comment on column public.webhook_deliveries.created_at is 'When the delivery was queued (millisecond precision)';
comment on column public.webhook_deliveries.last_attempt_at is 'When the last attempt started';
comment on column public.webhook_deliveries.next_attempt_at is 'When the next attempt is due; null once the delivery has ended or is cancelled';
comment on column public.webhook_deliveries.completed_at is 'When the delivery ended';

create view public.webhook_delivery_attempts with (security_invoker) as
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
    where response_time_ms is not null;

-- What PostgREST takes for relationships between views, so that rows come with those that belong to them:
-- webhook_endpoints?select=*,webhook_deliveries(*). Without a SET clause, which would keep the planner from looking into them and
-- make it read all deliveries of an endpoint where ten are asked for; each name and operator has its schema instead.
create function public.webhook_deliveries(endpoint public.webhook_endpoints) returns setof public.webhook_deliveries
    language sql stable
    as $$ select * from public.webhook_deliveries as delivery where delivery.endpoint_id operator(pg_catalog.=) endpoint.id $$;

comment on function public.webhook_deliveries(public.webhook_endpoints) is 'The deliveries of an endpoint, of those that you may see';

create function public.webhook_endpoints(delivery public.webhook_deliveries) returns setof public.webhook_endpoints
    language sql stable rows 1
    as $$ select * from public.webhook_endpoints as endpoint where endpoint.id operator(pg_catalog.=) delivery.endpoint_id $$;

comment on function public.webhook_endpoints(public.webhook_deliveries) is 'The endpoint of a delivery; none where it was deleted';

create function public.webhook_delivery_attempts(delivery public.webhook_deliveries) returns setof public.webhook_delivery_attempts
    language sql stable rows 6
    as $$ select * from public.webhook_delivery_attempts as made where made.delivery_id operator(pg_catalog.=) delivery.id $$;

comment on function public.webhook_delivery_attempts(public.webhook_deliveries) is 'The requests made for a delivery';

-- A view this simple could be written through after a GRANT ALL; and a write to the other view would give an error that explains nothing.
create function webhook_delivery.refuse_to_change_history() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    raise exception using
        errcode = 'insufficient_privilege',
        message = 'the delivery history cannot be changed',
        hint = 'The operator drops the partitions of days that are no longer needed.';
end
$$;

comment on function webhook_delivery.refuse_to_change_history() is 'Refuses to write through the history''s views (42501)';

create trigger webhook_deliveries_are_read_only instead of insert or update or delete on public.webhook_deliveries
    for each row execute function webhook_delivery.refuse_to_change_history();

create trigger webhook_delivery_attempts_are_read_only instead of insert or update or delete on public.webhook_delivery_attempts
    for each row execute function webhook_delivery.refuse_to_change_history();

comment on view public.webhook_delivery_attempts is 'Every request made for the deliveries of the auctions that you may see';
comment on column public.webhook_delivery_attempts.delivery_id is 'The delivery it was made for';
comment on column public.webhook_delivery_attempts.attempt is '1 for the first request of a delivery';
comment on column public.webhook_delivery_attempts.auction_id is 'The auction of event and endpoint';
comment on column public.webhook_delivery_attempts.endpoint_id is 'Where the request went';
comment on column public.webhook_delivery_attempts.event_id is 'What it carried';
comment on column public.webhook_delivery_attempts.event_type is 'The type of the event';
comment on column public.webhook_delivery_attempts.status is 'success (a 2xx response) or failed';
comment on column public.webhook_delivery_attempts.response_status_code is 'HTTP status, null where no response came';
comment on column public.webhook_delivery_attempts.response_time_ms is 'Milliseconds from the start of the request to its end';
comment on column public.webhook_delivery_attempts.error_kind is 'Why it failed, for programs; null after a success';
comment on column public.webhook_delivery_attempts.error_message is 'Why it failed, for people; null after a success';
comment on column public.webhook_delivery_attempts.response_excerpt is 'The beginning of the response of a failed attempt, at most 1 kB';
comment on column public.webhook_delivery_attempts.is_test is 'Sent by test_webhook()';
comment on column public.webhook_delivery_attempts.attempted_at is 'When the request started';
comment on column public.webhook_delivery_attempts.next_attempt_at is 'When the attempt after it was due; null where it ended the delivery';
