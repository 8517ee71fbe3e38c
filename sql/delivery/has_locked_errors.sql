-- Is there a dead letter that a lock was in the way of?
select exists (select from webhook_delivery.capture_errors where recaptures_left > 0)
