-- Returns whether there is a dead letter that a lock has caused.
select exists (select from webhook_delivery.capture_errors where recaptures_left > 0)
