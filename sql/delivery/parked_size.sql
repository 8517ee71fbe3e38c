-- How large is the table of the parked deliveries, in blocks, and are there counts of it?
select
    pg_relation_size('webhook_delivery.queue_parked') / current_setting('block_size')::bigint,
    exists (select from webhook_delivery.parked_counts)
