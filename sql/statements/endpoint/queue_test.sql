-- Queues the catalogue's example of an event type as a test, which has one attempt. Returns the
-- delivery's id; no row if the event type does not exist or the auction has used up its tests of
-- the current minute.
-- $1 endpoint, $2 its auction, $3 event type, $4 id of the delivery, $5 now
with event as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
    select webhook_delivery.uuid_v7(), $2, known.event_type, $5, known.example
    from public.webhook_event_types as known
    cross join webhook_delivery.count_usage($2, 1, 0) as counted
    where known.event_type = $3 and counted.tests <= current_setting('webhook_delivery.tests_per_minute')::integer
    returning id, event_type
)
insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_test)
select $5, $4, $2, $1, event.id, event.event_type, true
from event
returning delivery_id
