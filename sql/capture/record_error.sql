-- Makes events visible that could not be captured, so that they can be captured again.
-- $1 when it happened, $2 event type, $3 keys of the rows, $4 SQLSTATE, $5 message, $6 detail, $7 hint, $8 context
insert into webhook_delivery.capture_errors (occurred_at, event_type, row_ids, error_code, error_message, detail, hint, context)
values ($1, $2, $3, $4, $5, $6, $7, $8)
