-- A dead letter could not be captured again for another reason than the lock that it was for.
-- $1 its id, $2 SQLSTATE, $3 message
update webhook_delivery.capture_errors set error_code = $2, error_message = $3 where id = $1
