-- Many finished attempts at once: a delivery that ended leaves the queue, one to be tried again gets its time, and each
-- attempt enters the log. Fails where one of them is in the log already, or somebody has locked one's row of the queue:
-- record_carefully.sql takes the same arguments, and to find that out four tenths more time.
-- $1 due_at, $2 delivery_id, $3 attempt, $4 auction_id, $5 endpoint_id, $6 event_id, $7 event_type, $8 delivery_status,
-- $9 response_status_code, $10 response_time_ms, $11 error_message, $12 response_excerpt, $13 is_test, $14 attempted_at,
-- $15 next_attempt_at, $16 whether it keeps its place in due_at meanwhile, $17 lookup_ms, $18 connect_ms, $19 tls_ms,
-- $20 first_byte_ms, $21 address: arrays of equal length
with outcome as materialized (
    select *
    from unnest($1::timestamptz[], $2::uuid[], $3::smallint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
        $9::smallint[], $10::integer[], $11::text[], $12::text[], $13::boolean[], $14::timestamptz[], $15::timestamptz[],
        $16::boolean[], $17::integer[], $18::integer[], $19::integer[], $20::integer[], $21::text[]::inet[])
        as given (due_at, delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status,
            response_status_code, response_time_ms, error_message, response_excerpt, is_test, attempted_at, next_attempt_at,
            keeps_place, lookup_ms, connect_ms, tls_ms, first_byte_ms, address)
), ended as (
    delete from webhook_delivery.queue
    using outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.next_attempt_at is null
), retried as (
    update webhook_delivery.queue set
        due_at = case when outcome.keeps_place then queue.due_at else outcome.next_attempt_at end,
        not_before = case when outcome.keeps_place then outcome.next_attempt_at end,
        attempts = outcome.attempt,
        response_status_code = outcome.response_status_code, response_time_ms = outcome.response_time_ms,
        error_message = outcome.error_message, attempted_at = outcome.attempted_at
    from outcome
    where queue.due_at = outcome.due_at and queue.delivery_id = outcome.delivery_id and outcome.next_attempt_at is not null
)
insert into webhook_delivery.attempts (
    delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status, response_status_code,
    response_time_ms, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, lookup_ms, connect_ms,
    tls_ms, first_byte_ms, address, created_at)
select delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status, response_status_code,
    response_time_ms, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, lookup_ms, connect_ms, tls_ms,
    first_byte_ms, address, webhook_delivery.uuid_v7_time(delivery_id)
from outcome
