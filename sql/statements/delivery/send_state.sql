-- Returns whether this database may send. The answer holds for the snapshot in which the queue is
-- then read.
select state from webhook_delivery.send_state
