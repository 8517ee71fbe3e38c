-- Deletes dead letters, which hold rows as they were before a change: those about this row, and
-- those that contain this text.
-- $1 row or null, $2 text or null
delete from webhook_delivery.capture_errors as owed
where $1 = any (owed.row_ids)
    or position($2 in concat_ws(' ', owed.error_message, owed.detail, owed.context)) > 0
    or position(substr(to_json($2)::text, 2, length(to_json($2)::text) - 2) in concat(owed.previous_rows::text, owed.data::text)) > 0
