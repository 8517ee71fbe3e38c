-- Makes events visible that could not be captured, so that they can be captured again.
-- $1 when it happened, $2 event type, $3 schema of the rows, $4 their keys, $5 the rows as they were before, $6 SQLSTATE,
-- $7 message, $8 detail, $9 hint, $10 context; of events that are whole rows $11 the table, $12 the column of the auction,
-- $13 the columns left out
insert into webhook_delivery.capture_errors
    (occurred_at, event_type, schema_name, row_ids, previous_rows, error_code, error_message, detail, hint, context,
    table_name, auction_column, left_out)
values ($1, $2, (select nspname from pg_namespace where oid = $3), $4, $5::json[], $6, $7, $8, $9, $10,
    (select relname from pg_class where oid = $11), $12, $13)
