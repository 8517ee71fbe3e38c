-- Deliveries that wait are to end. That of one that is under way may still succeed, and then has: so the worker, who alone knows
-- that, ends them. It reads these first.
-- $1 delivery ids
update webhook_delivery.queue as waiting set due_at = '-infinity'
where waiting.delivery_id = any ($1) and waiting.due_at > '-infinity'
