-- Does a dead letter wait for a lock?
select exists (select from webhook_delivery.capture_errors where waits_for_lock)
