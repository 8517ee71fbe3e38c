-- When the next delivery that is not due yet will be. One step into the index.
-- $1 now
select due_at from webhook_delivery.queue where due_at > $1 order by due_at limit 1
