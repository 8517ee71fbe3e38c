-- Which events did a lock keep from being captured? The next dead letter.
-- $1 id of the one before
select id from webhook_delivery.capture_errors where error_code = '55P03' and id > $1 order by id limit 1
