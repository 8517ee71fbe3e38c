-- Takes out what could not be captured, to try it again. The schema's oid is null where it is gone.
-- $1 id of the row
delete from webhook_delivery.capture_errors where id = $1
returning occurred_at, event_type, row_ids, previous_rows::text[], to_regnamespace(quote_ident(schema_name))::oid,
    to_regclass(quote_ident(schema_name) || '.' || quote_ident(table_name))::oid, auction_column::text, left_out
