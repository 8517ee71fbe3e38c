-- Takes out a dead letter, to build it again. The schema's oid is null where the schema is gone, and so is the table's.
-- $1 id of the row
delete from webhook_delivery.capture_errors where id = $1
returning occurred_at, event_type, row_ids, to_regnamespace(quote_ident(schema_name))::oid, auction_ids is not null,
    to_regclass(quote_ident(schema_name) || '.' || quote_ident(table_name))::oid, auction_ids,
    coalesce(data, previous_rows)::text[]
