-- Takes the next dead letter that a lock has caused. The recapture is counted before it is made:
-- one that ends the process each time is not repeated forever, and one that a shutdown has
-- interrupted is repeated.
-- $1 id of the previous dead letter
update webhook_delivery.capture_errors set recaptures_left = recaptures_left - 1
where id = (select id from webhook_delivery.capture_errors where recaptures_left > 0 and id > $1 order by id limit 1)
returning id
