-- Records a batch of finished attempts: a delivery that has ended leaves the queue, a delivery that
-- will be retried gets its next attempt time, and each attempt enters the log.
-- Fails if an attempt is in the log already, or if another transaction has locked the queue row of
-- one. record_carefully.sql takes the same argument and handles both, but takes more time.
-- $1 the attempts
with outcome as materialized (
    select * from unnest($1::webhook_delivery.outcome[])
), ended as (
    delete from webhook_delivery.queue
    using outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.next_attempt_at is null
), retried as (
    update webhook_delivery.queue set
        due_at = case when outcome.keeps_position or queue.end_reason is not null then queue.due_at else outcome.next_attempt_at end,
        not_before = case when outcome.keeps_position then outcome.next_attempt_at end,
        attempts = outcome.attempt,
        response_status_code = outcome.response_status_code, response_time_ms = outcome.response_time_ms,
        error_kind = outcome.error_kind::public.webhook_error_kind, error_message = outcome.error_message, attempted_at = outcome.attempted_at
    from outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.next_attempt_at is not null
)
insert into webhook_delivery.attempts (
    delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status, response_status_code,
    response_time_ms, error_kind, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, lookup_ms, connect_ms,
    tls_ms, first_byte_ms, address, created_at)
select
    delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, next_attempt_at is null,
    case when error_kind is null then 'success'::public.webhook_delivery_status else 'failed' end, response_status_code,
    response_time_ms, error_kind::public.webhook_error_kind,
    case when expunged.is_expunged then regexp_replace(error_message, ' [(]to .*', '') else error_message end,
    case when expunged.is_expunged then null else response_excerpt end, is_test, attempted_at, next_attempt_at, lookup_ms, connect_ms,
    tls_ms, first_byte_ms, address, created_at
from outcome
-- An attempt that was in flight while its event was expunged leaves nothing that may echo the data.
left join lateral (
    select true as is_expunged from webhook_delivery.queue as waiting
    where outcome.error_kind is not null and waiting.due_at = outcome.due_at and waiting.delivery_id = outcome.delivery_id
        and waiting.end_reason = 'event_deleted'
) as expunged on true
