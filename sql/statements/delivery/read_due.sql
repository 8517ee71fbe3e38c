-- The next deliveries that are due, in their order: over all endpoints but those that have enough waiting, or of one whose backlog was
-- passed over before. Reads on from where the last read ended, so that rows deleted since are not walked again. Tests are sent, and
-- deliveries that are to end do so, whatever else waits for their endpoint. A subselect is hashed: compared with an array, thousands of endpoints to
-- leave out would take seconds.
-- $1 due_at and $2 delivery_id of the last row read, $3 now, $4 endpoints to leave out, $5 the only endpoint or null,
-- $6 maximum number of rows
select due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, attempts, earlier_attempts, is_test, not_before, end_reason::text
from webhook_delivery.queue
where (due_at, delivery_id) > ($1, $2) and due_at <= $3
    and (endpoint_id = $5 or $5 is null and (is_test or end_reason is not null or endpoint_id not in (select unnest($4::uuid[]))))
order by due_at, delivery_id
limit $6
