-- The size of the table of parked deliveries in blocks, and whether there are counts of it.
select
    pg_relation_size('webhook_delivery.queue_parked') / current_setting('block_size')::bigint,
    exists (select from webhook_delivery.parked_counts)
