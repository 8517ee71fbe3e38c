-- Returns the earliest due time after now. Reads one entry of the index.
-- $1 now
select due_at from webhook_delivery.queue where due_at > $1 order by due_at limit 1
