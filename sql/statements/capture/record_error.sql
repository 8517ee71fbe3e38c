-- Writes a dead letter: events that could not be built and can be recaptured.
-- $1 time at which the events happened, $2 event type, $3 oid of the schema of the rows, $4 keys of
-- the rows, $5 the rows as they were before, $6 SQLSTATE, $7 message, $8 detail, $9 hint, $10
-- context.
-- $11 oid of the table, for events of row_event(), or of the first of the co-located shards with the
-- rows. Read without pg_class, in which Citus hides shards from clients.
-- For events of row_event() and emit(): $12 auctions, $13 data.
-- $14 id of the dead letter whose recapture failed, null for a new dead letter; $15 whether a lock
-- caused the failure
insert into webhook_delivery.capture_errors
    (id, occurred_at, event_type, schema_name, row_ids, previous_rows, error_code, error_message, detail, hint, context,
    table_name, auction_ids, data, recaptures_left)
overriding system value
values (coalesce($14, nextval('webhook_delivery.capture_errors_id_seq')),
    $1, $2, (select nspname from pg_namespace where oid = $3), $4, $5::json[], $6, $7, $8, $9, $10,
    (parse_ident((pg_identify_object('pg_class'::regclass, $11, 0)).name))[1], $12, $13::json[], case when $15 then 3 else 0 end)
