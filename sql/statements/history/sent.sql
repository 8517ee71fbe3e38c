-- Returns the parts of a delivery's request. One row; nulls for what no longer exists.
-- $1 event, $2 endpoint, $3 auction
select event.occurred_at, event.data::text, endpoint.url, endpoint.algorithms, endpoint.key_ids, endpoint.secrets, nullif(endpoint.headers, '{}')::text
from (values ($1::uuid, $2::uuid, $3::uuid)) as delivery (event_id, endpoint_id, auction_id)
left join webhook_delivery.events as event on event.id = delivery.event_id
left join webhook_delivery.endpoint_targets as endpoint
    on endpoint.id = delivery.endpoint_id and endpoint.auction_id = delivery.auction_id
