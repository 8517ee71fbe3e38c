-- What waits for an attempt though its event is no longer kept is to end: the worker reads it first then, as what is cancelled.
-- $1 when the oldest events are of that are kept
update webhook_delivery.queue as waiting set due_at = '-infinity'
where (waiting.due_at, waiting.delivery_id) in (
    select expired.due_at, expired.delivery_id from webhook_delivery.queue as expired
    where expired.event_id < $1 and expired.due_at > '-infinity'
    limit 5000
    for update skip locked)
