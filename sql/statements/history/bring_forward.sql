-- Deliveries that wait for another attempt have it now, and a whole schedule after it. Those that are due are in flight, or have
-- their turn soon; of those no more is asked.
-- $1 delivery ids
update webhook_delivery.queue as waiting set due_at = least(waiting.due_at, now()), not_before = null, earlier_attempts = waiting.attempts
where waiting.delivery_id = any ($1) and waiting.end_reason is null and greatest(waiting.due_at, waiting.not_before) > now()
