-- The next deliveries that are due: over all endpoints but those that have enough waiting, or of one whose backlog was
-- passed over before. Reads on from where the last read ended, so that rows deleted since are not walked again. Events are
-- joined outside the limit: the last row read, with an event or without, is where the next read begins. Tests go out, and what is
-- cancelled ends, whatever else waits for their endpoint. A subselect is hashed: compared with an array, thousands of endpoints to leave out would take
-- seconds. In no order.
-- $1 due_at and $2 delivery_id of the last row read, $3 now, $4 endpoints to leave out, $5 the only endpoint or null,
-- $6 at most so many rows, $7 bytes of data beyond which it is left in the table
with due as materialized (
    select due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, attempts, earlier_attempts,
        is_test, not_before
    from webhook_delivery.queue
    where (due_at, delivery_id) > ($1, $2) and due_at <= $3
        and (endpoint_id = $5 or $5 is null and (is_test or due_at = '-infinity' or endpoint_id not in (select unnest($4::uuid[]))))
    order by due_at, delivery_id
    limit $6
)
select due.due_at, due.delivery_id, due.auction_id, due.endpoint_id, due.event_id, due.attempts, due.is_test,
    due.event_type, event.occurred_at,
    case when octet_length(event.data::text) <= $7 then event.data::text end, octet_length(event.data::text),
    event.row_id, due.not_before, due.earlier_attempts
from due
left join webhook_delivery.events as event on event.id = due.event_id
