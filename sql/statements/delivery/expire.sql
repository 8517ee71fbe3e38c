-- Marks deliveries whose event is older than the retention; the worker then ends them.
-- $1 lowest id that an event within the retention can have
update webhook_delivery.queue as waiting set end_reason = 'expired', due_at = least(waiting.due_at, clock_timestamp())
where (waiting.due_at, waiting.delivery_id) in (
    select expired.due_at, expired.delivery_id from webhook_delivery.queue as expired
    where expired.event_id < $1 and expired.end_reason is null
    limit 5000
    for update skip locked)
