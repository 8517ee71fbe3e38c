-- Writes the events that at least one active endpoint wants, and a queue row for each of those endpoints. Gives back how many
-- events were written, and the id of one of them.
-- $1 event type, $2 when it happened, $3 auctions, $4 rows and $5 payloads: arrays of equal length; $6 now
with event as materialized (
    select webhook_delivery.uuid_v7() as id, payload.auction_id, payload.row_id, payload.data,
        array(
            select wanted.endpoint_id from webhook_delivery.subscriptions as wanted
            where wanted.auction_id = payload.auction_id and wanted.events && webhook_delivery.event_patterns($1)
        ) as endpoint_ids
    from unnest($3, $4, $5) as payload(auction_id, row_id, data)
), stored as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, row_id, data)
    select event.id, event.auction_id, $1, $2, event.row_id, event.data
    from event
    where event.endpoint_ids <> '{}'
    returning id
), queued as (
    insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
    select $6, webhook_delivery.uuid_v7(), event.auction_id, unnest(event.endpoint_ids), event.id, $1
    from event
)
select count(*), (array_agg(stored.id))[1] from stored
