-- Brings deliveries that wait for another attempt forward to a given time, and restarts their retry
-- schedule. Skips deliveries that are due within a second: these are in flight or will be sent
-- soon, and the worker finds a delivery in flight by its due time. Skips those of which nothing
-- would change.
-- $1 delivery ids and $2 the time for each, arrays of equal length; $3 now. Not the start of the
-- transaction, which may lie before the due time of a delivery in flight.
update webhook_delivery.queue as waiting
set due_at = least(waiting.due_at, greatest(wanted.due_at, $3)), not_before = null, earlier_attempts = waiting.attempts
from unnest($1::uuid[], $2::timestamptz[]) as wanted (delivery_id, due_at)
where waiting.delivery_id = any ($1) and waiting.delivery_id = wanted.delivery_id
    and waiting.end_reason is null and greatest(waiting.due_at, waiting.not_before) > $3 + interval '1 second'
    and (greatest(waiting.due_at, waiting.not_before) > greatest(wanted.due_at, $3) or waiting.earlier_attempts <> waiting.attempts)
