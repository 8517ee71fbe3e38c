-- Writes a dead letter: events that could not be built, which can be captured again.
-- $1 when it happened, $2 event type, $3 schema of the rows, $4 their keys, $5 the rows as they were before, $6 SQLSTATE,
-- $7 message, $8 detail, $9 hint, $10 context; of events of a row trigger and of emit() $11 the table, $12 auctions and $13 data;
-- $14 the id of a dead letter that was captured again and stays, or null; $15 whether a lock was in the way
insert into webhook_delivery.capture_errors
    (id, occurred_at, event_type, schema_name, row_ids, previous_rows, error_code, error_message, detail, hint, context,
    table_name, auction_ids, data, recaptures_left)
overriding system value
values (coalesce($14, nextval('webhook_delivery.capture_errors_id_seq')),
    $1, $2, (select nspname from pg_namespace where oid = $3), $4, $5::json[], $6, $7, $8, $9, $10,
    (select relname from pg_class where oid = $11), $12, $13::json[], case when $15 then 3 else 0 end)
