-- When will the next delivery be due that is not due yet? One step into the index.
-- $1 now
select due_at from webhook_delivery.queue where due_at > $1 order by due_at limit 1
