-- Writes events, and one queue row for each endpoint that is interested in an event.
-- $1 event type; $2 time at which the events happened.
-- Arrays of equal length, one element per event: $3 ids (null for an event without an interested
-- endpoint, which is not written), $4 auctions, $5 rows, $6 data.
-- $7 now.
-- Arrays of equal length, one element per delivery: $8 ids, $9 auctions, $10 endpoints, $11 events.
with stored as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
    select given.id, given.auction_id, $1, $2, given.row_id, given.data
    from unnest($3, $4, $5, $6) as given (id, auction_id, row_id, data)
    where given.id is not null
)
insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
select $7, given.delivery_id, given.auction_id, given.endpoint_id, given.event_id, $1
from unnest($8, $9, $10, $11) as given (delivery_id, auction_id, endpoint_id, event_id)
