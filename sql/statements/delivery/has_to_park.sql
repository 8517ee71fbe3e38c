-- Whether there are deliveries to park. Asking takes no transaction id.
-- $1 due before this moment or $2 after this one
select
    exists (select from webhook_delivery.queue where not is_parked and due_at < $1 and due_at > '-infinity')
    or exists (select from webhook_delivery.queue where not is_parked and due_at > $2)
