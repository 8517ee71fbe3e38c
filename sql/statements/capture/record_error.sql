-- Writes a dead letter: events that could not be built and can be recaptured.
-- $1 time at which the events happened, $2 event type, $3 oid of the schema of the rows, $4 keys of
-- the rows, $5 the rows as they were before, $6 SQLSTATE, $7 message, $8 detail, $9 hint, $10
-- context.
-- For events of row_event() and emit(): $11 oid of the table, $12 auctions, $13 data.
-- $14 id of the dead letter whose recapture failed, null for a new dead letter; $15 whether a lock
-- caused the failure
insert into webhook_delivery.capture_errors
    (id, occurred_at, event_type, schema_name, row_ids, previous_rows, error_code, error_message, detail, hint, context,
    table_name, auction_ids, data, recaptures_left)
overriding system value
values (coalesce($14, nextval('webhook_delivery.capture_errors_id_seq')),
    $1, $2, (select nspname from pg_namespace where oid = $3), $4, $5::json[], $6, $7, $8, $9, $10,
    (select relname from pg_class where oid = $11), $12, $13::json[], case when $15 then 3 else 0 end)
