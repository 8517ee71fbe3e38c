-- Parks deliveries: those that have been due for a while and were not made, and those that will not be due for a while.
-- $1 due before this moment or $2 after this one, $3 maximum number of each
with overdue as materialized (
    select due_at, delivery_id from webhook_delivery.queue
    where not is_parked and due_at < $1 and due_at > '-infinity'
    order by due_at, delivery_id
    limit $3
    for update skip locked
), later as materialized (
    select due_at, delivery_id from webhook_delivery.queue
    where not is_parked and due_at > $2
    order by due_at, delivery_id
    limit $3
    for update skip locked
)
update webhook_delivery.queue as waiting set is_parked = true
from (select * from overdue union all select * from later) as found
where not waiting.is_parked and waiting.due_at = found.due_at and waiting.delivery_id = found.delivery_id
