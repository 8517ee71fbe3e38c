-- Returns those of the given attempts that are not recorded, each as its index in the arrays and
-- columns of its queue row.
-- Arrays of equal length, one element per attempt: $1 due_at, $2 delivery_id, $3 attempt
select given.place, queue.auction_id, queue.endpoint_id, queue.event_id, queue.event_type, queue.is_test
from unnest($1::timestamptz[], $2::uuid[], $3::smallint[]) with ordinality as given (due_at, delivery_id, attempt, place)
join webhook_delivery.queue
    on queue.due_at = given.due_at and queue.delivery_id = given.delivery_id and queue.attempts = given.attempt - 1
