-- Records finished attempts like record.sql, but does not fail on single ones. An attempt that is
-- in the log already, because it was made both before and after a crash, is not logged again. If
-- another transaction has locked the queue row of an attempt, nothing of that attempt is recorded,
-- because waiting for that transaction would delay all others. Returns the deliveries of these
-- attempts, each with the transaction that has locked its row.
-- $1 the attempts
with outcome as materialized (
    select given.*, waiting.is_ours,
        case when waiting.is_ours is null then (
            select held.xmax::text::bigint from webhook_delivery.queue as held
            where held.due_at = given.due_at and held.delivery_id = given.delivery_id) end as locked_by
    from unnest($1::webhook_delivery.outcome[]) as given
    left join lateral (
        select true as is_ours
        from webhook_delivery.queue
        where queue.due_at = given.due_at and queue.delivery_id = given.delivery_id
        for update skip locked
    ) as waiting on true
), ended as (
    delete from webhook_delivery.queue
    using outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.is_ours and outcome.next_attempt_at is null
), retried as (
    update webhook_delivery.queue set
        due_at = case when outcome.keeps_position or queue.end_reason is not null then queue.due_at else outcome.next_attempt_at end,
        not_before = case when outcome.keeps_position then outcome.next_attempt_at end,
        attempts = outcome.attempt,
        response_status_code = outcome.response_status_code, response_time_ms = outcome.response_time_ms,
        error_kind = outcome.error_kind::public.webhook_error_kind, error_message = outcome.error_message, attempted_at = outcome.attempted_at
    from outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.is_ours and outcome.next_attempt_at is not null
), logged as (
    insert into webhook_delivery.attempts (
        delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status, response_status_code,
        response_time_ms, error_kind, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, lookup_ms, connect_ms,
        tls_ms, first_byte_ms, address, created_at)
    select delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, next_attempt_at is null,
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
    where locked_by is null
    on conflict do nothing
)
select delivery_id, locked_by from outcome where locked_by is not null
