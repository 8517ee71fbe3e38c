-- Writes the events of these payloads, and a queue row for each endpoint that wants one; gives back how many were wanted.
-- $1 event type, $2 when it happened, $3 auctions, $4 rows and $5 payloads: arrays of equal length
select events_written from webhook_delivery.fan_out($1, $2, $3, $4, $5)
