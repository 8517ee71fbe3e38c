-- The next deliveries that are due to one endpoint whose backlog was passed over before.
-- $1 due_at and $2 delivery_id of the last row taken, $3 now, $4 the endpoint, $5 at most so many rows
with due as materialized (
    select due_at, delivery_id, auction_id, endpoint_id, event_id, attempts, is_test
    from webhook_delivery.queue
    where (due_at, delivery_id) > ($1, $2) and due_at <= $3 and endpoint_id = $4
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
