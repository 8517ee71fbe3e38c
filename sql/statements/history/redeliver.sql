-- Queues ended deliveries again, with the whole retry schedule. The log entry that was the end of a
-- delivery becomes an attempt that was retried. Skips deliveries whose endpoint or event was
-- deleted, and tests, which have a limit of their own.
-- $1 delivery ids and $2 the time at which each is due, arrays of equal length; $3 lowest and $4
-- highest id, which exclude other partitions
with wanted as materialized (
    select given.* from unnest($1::uuid[], $2::timestamptz[]) as given (delivery_id, due_at)
), ended as (
    delete from webhook_delivery.attempts_ended as log
    using wanted
    where log.delivery_id = wanted.delivery_id and log.delivery_id between $3 and $4
        and not log.is_test
        -- attempt is a smallint.
        and log.attempt < 32000
        and exists (select from webhook_delivery.events as event where event.id = log.event_id)
        and exists (
            select from public.webhook_endpoints as endpoint
            where endpoint.id = log.endpoint_id and endpoint.auction_id = log.auction_id)
    -- The end of a delivery that could not be sent was not an attempt.
    returning log.*, wanted.due_at, log.attempt - case when log.response_time_ms is null then 1 else 0 end as made
), logged as (
    insert into webhook_delivery.attempts_retried (
        delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status, response_status_code,
        response_time_ms, error_kind, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, created_at, lookup_ms, connect_ms,
        tls_ms, first_byte_ms, address)
    select
        delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, false, status, response_status_code,
        response_time_ms, error_kind, error_message, response_excerpt, is_test, attempted_at, due_at, created_at, lookup_ms, connect_ms,
        tls_ms, first_byte_ms, address
    from ended
    where response_time_ms is not null
    on conflict do nothing
)
insert into webhook_delivery.queue_recent (
    due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, attempts, earlier_attempts, is_test,
    response_status_code, response_time_ms, error_kind, error_message, attempted_at)
select due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, made, made, is_test,
    response_status_code, response_time_ms, error_kind, error_message, attempted_at
from ended
returning delivery_id
