-- Replaces the counts of the parked deliveries.
-- Arrays of equal length, one element per row: $1 endpoint_id, $2 auction_id, $3 is_test,
-- $4 deliveries, $5 due, $6 oldest_due_at, $7 next_attempt_at
with counted as materialized (
    select *
    from unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[])
        as given (endpoint_id, auction_id, is_test, deliveries, due, oldest_due_at, next_attempt_at)
), gone as (
    delete from webhook_delivery.parked_counts as known
    where (endpoint_id, auction_id, is_test) not in (select endpoint_id, auction_id, is_test from counted)
)
insert into webhook_delivery.parked_counts as known
select * from counted
on conflict on constraint parked_deliveries_are_counted_once do update set
    deliveries = excluded.deliveries, due = excluded.due, oldest_due_at = excluded.oldest_due_at,
    next_attempt_at = excluded.next_attempt_at
where (known.deliveries, known.due, known.oldest_due_at, known.next_attempt_at)
    is distinct from (excluded.deliveries, excluded.due, excluded.oldest_due_at, excluded.next_attempt_at)
