-- The next dead letter that waits for a lock. From now on it does not wait any more: where the process that captures it again is
-- ended, it is not tried another time.
-- $1 id of the one before
update webhook_delivery.capture_errors set waits_for_lock = false
where id = (select id from webhook_delivery.capture_errors where waits_for_lock and id > $1 order by id limit 1)
returning id
