-- Counts the parked deliveries in some blocks of the table.
-- $1 the first block and $2 the one after the last
select
    endpoint_id,
    auction_id,
    is_test,
    count(*),
    count(*) filter (where coalesce(not_before, due_at) <= now() and due_at > '-infinity'),
    min(due_at) filter (where coalesce(not_before, due_at) <= now() and due_at > '-infinity'),
    min(nullif(coalesce(not_before, due_at), '-infinity'))
from webhook_delivery.queue
where is_parked and ctid >= format('(%s,0)', $1::bigint)::tid and ctid < format('(%s,0)', $2::bigint)::tid
group by endpoint_id, auction_id, is_test
