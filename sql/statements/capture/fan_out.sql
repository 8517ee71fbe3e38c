-- Writes events, and a queue row for each endpoint that wants one of them.
-- $1 event type, $2 when it happened; $3 ids, $4 auctions, $5 rows and $6 data: arrays of equal length, without an id what
-- nobody wants; $7 now; $8 ids of deliveries, $9 auctions, $10 endpoints and $11 events: arrays of equal length
with stored as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
    select given.id, given.auction_id, $1, $2, given.row_id, given.data
    from unnest($3, $4, $5, $6) as given (id, auction_id, row_id, data)
    where given.id is not null
)
insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
select $7, given.delivery_id, given.auction_id, given.endpoint_id, given.event_id, $1
from unnest($8, $9, $10, $11) as given (delivery_id, auction_id, endpoint_id, event_id)
