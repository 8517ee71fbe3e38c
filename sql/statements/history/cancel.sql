-- Ends deliveries that wait. One that is in flight may still succeed: so the worker, which alone knows
-- that, ends them. It reads these first.
-- $1 delivery ids
update webhook_delivery.queue as waiting set due_at = '-infinity'
where waiting.delivery_id = any ($1) and waiting.due_at > '-infinity'
