-- Reads the next due deliveries in order: those of all endpoints except the ones to leave out
-- (backlogged, throttled, disabled), or those of a single endpoint that earlier reads left out.
-- Continues where the last read ended, so that it does not walk again over rows deleted since.
-- Tests and deliveries that are to end are read even if their endpoint is left out.
-- The endpoints to leave out are in a subselect because it is hashed: a comparison with an array
-- would take seconds for thousands of endpoints.
-- $1 due_at and $2 delivery_id of the last row read, $3 now, $4 endpoints to leave out, $5 the
-- single endpoint or null, $6 maximum number of rows
select due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, attempts, earlier_attempts, is_test, not_before, end_reason::text
from webhook_delivery.queue
where (due_at, delivery_id) > ($1, $2) and due_at <= $3
    and (endpoint_id = $5 or $5 is null and (is_test or end_reason is not null or endpoint_id not in (select unnest($4::uuid[]))))
order by due_at, delivery_id
limit $6
