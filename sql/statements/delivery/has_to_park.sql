-- Returns whether there are deliveries to park. Unlike park.sql, it takes no transaction id.
-- Deliveries to park are due from $1 until before $2, or from $3 on.
select
    exists (select from webhook_delivery.queue where not is_parked and due_at >= $1 and due_at < $2 and end_reason is null)
    or exists (select from webhook_delivery.queue where not is_parked and due_at >= $3)
