-- Marks deliveries as cancelled; the worker then ends them. Only the worker knows which are in
-- flight, and those may still succeed.
-- $1 delivery ids
update webhook_delivery.queue as waiting set end_reason = 'cancelled', due_at = least(waiting.due_at, clock_timestamp())
where waiting.delivery_id = any ($1) and waiting.end_reason is null
