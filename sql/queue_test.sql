-- Queues one attempt of the catalogue's example; gives back the delivery's id, no row where there is no such type.
-- $1 endpoint, $2 its auction, $3 event type, $4 id of the delivery, $5 now
with event as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
    select webhook_delivery.uuid_v7(), $2, known.event_type, $5, known.example
    from webhook_delivery.catalogue as known
    where known.event_type = $3
    returning id, event_type
)
insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_test)
select $5, $4, $2, $1, event.id, event.event_type, true
from event
returning delivery_id
