-- Counts the parked deliveries in some blocks of the table, by endpoint, auction and is_test.
-- $1 first block, $2 block after the last one
select
    endpoint_id,
    auction_id,
    is_test,
    count(*),
    count(*) filter (where webhook_delivery.next_attempt_at(due_at, not_before, end_reason) <= now()),
    min(due_at) filter (where webhook_delivery.next_attempt_at(due_at, not_before, end_reason) <= now()),
    min(webhook_delivery.next_attempt_at(due_at, not_before, end_reason))
from webhook_delivery.queue
where is_parked and ctid >= format('(%s,0)', $1::bigint)::tid and ctid < format('(%s,0)', $2::bigint)::tid
group by endpoint_id, auction_id, is_test
