-- Takes out what could not be captured, to try it again.
-- $1 id of the row
delete from webhook_delivery.capture_errors where id = $1 returning occurred_at, event_type, row_ids
