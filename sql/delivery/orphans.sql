-- What waits, due or not, for endpoints that were deleted since the last sweep.
-- $1 at most so many rows
select waiting.due_at, waiting.delivery_id, waiting.auction_id, waiting.endpoint_id, waiting.event_id, waiting.attempts,
    waiting.is_test, event.event_type
from webhook_delivery.deleted_endpoints as gone
join webhook_delivery.queue as waiting on waiting.endpoint_id = gone.endpoint_id
left join webhook_delivery.events as event on event.id = waiting.event_id
where not gone.is_swept
limit $1
