-- The next dead letter that a lock was in the way of. A try is counted before it is made: what ends the process each time is not
-- tried for ever, and what a shutdown has ended is tried again.
-- $1 id of the one before
update webhook_delivery.capture_errors set recaptures_left = recaptures_left - 1
where id = (select id from webhook_delivery.capture_errors where recaptures_left > 0 and id > $1 order by id limit 1)
returning id
