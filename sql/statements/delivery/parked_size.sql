-- Returns the size of queue_parked in blocks, and whether parked_counts has rows.
select
    pg_relation_size('webhook_delivery.queue_parked') / current_setting('block_size')::bigint,
    exists (select from webhook_delivery.parked_counts)
