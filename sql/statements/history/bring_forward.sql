-- Makes deliveries that wait for another attempt due now, and restarts their retry schedule. Skips
-- deliveries that are due: these are in flight or will be sent soon.
-- $1 delivery ids, $2 now: one moment for all, so that they keep their order. Not the start of the
-- transaction, which may lie before the due time of a delivery in flight.
update webhook_delivery.queue as waiting set due_at = least(waiting.due_at, $2), not_before = null, earlier_attempts = waiting.attempts
where waiting.delivery_id = any ($1) and waiting.end_reason is null and greatest(waiting.due_at, waiting.not_before) > $2
