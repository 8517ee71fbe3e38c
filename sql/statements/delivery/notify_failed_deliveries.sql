-- Sends webhook.delivery_failed for deliveries that have used up all of their attempts.
-- Arrays of equal length, one element per delivery: $1 delivery_id, $2 auction_id, $3 endpoint_id,
-- $4 event_type, $5 attempt, $6 response_status_code, $7 error_message, $8 attempted_at
select webhook_delivery.notify_failed_deliveries($1, $2, $3, $4, $5, $6, $7, $8)
