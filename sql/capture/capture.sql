-- Builds and fans out the events of these rows.
-- $1 event type, $2 keys of the rows
select webhook_delivery.capture($1, $2)
