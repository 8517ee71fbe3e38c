-- The next deliveries that are due, over all endpoints but those that have enough waiting. Reads on from where the last
-- read ended, so that rows deleted since are not walked again. Endpoints are joined inside the limit: the last row read,
-- wanted or not, is where the next read begins. Tests go out whatever else waits for their endpoint.
-- $1 due_at and $2 delivery_id of the last row read, $3 now, $4 endpoints to leave out, $5 at most so many rows
with due as materialized (
    select due_at, delivery_id, auction_id, endpoint_id, event_id, attempts, is_test
    from webhook_delivery.queue
    where (due_at, delivery_id) > ($1, $2) and due_at <= $3 and (endpoint_id <> all ($4) or is_test)
    order by due_at, delivery_id
    limit $5
)
select due.due_at, due.delivery_id, due.auction_id, due.endpoint_id, due.event_id, due.attempts, due.is_test,
    event.event_type, event.occurred_at, event.data::text, endpoint.url, endpoint.secret,
    endpoint.id is null and exists (
        select from webhook_delivery.deleted_endpoints as gone where gone.endpoint_id = due.endpoint_id) as is_gone
from due
left join webhook_delivery.endpoint_targets as endpoint
    on endpoint.id = due.endpoint_id and (endpoint.is_active or due.is_test)
left join webhook_delivery.events as event on event.id = due.event_id
order by due.due_at, due.delivery_id
