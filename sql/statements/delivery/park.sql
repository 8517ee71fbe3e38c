-- Parks deliveries: those that have been due for some time and have not been sent, and those that
-- become due only after some time. If parked_counts has rows, adds the parked deliveries to them.
-- Returns the due time of the last delivery of each kind, or null if no more of that kind are left.
-- $1 and $2: parks deliveries due from $1 until before $2; $3: and those due from $3 on.
-- $4 maximum number of each kind
with overdue as materialized (
    select due_at, delivery_id from webhook_delivery.queue
    where not is_parked and due_at >= $1 and due_at < $2 and end_reason is null
    order by due_at, delivery_id
    limit $4
    for update skip locked
), later as materialized (
    select due_at, delivery_id from webhook_delivery.queue
    where not is_parked and due_at >= $3
    order by due_at, delivery_id
    limit $4
    for update skip locked
), parked as (
    update webhook_delivery.queue as waiting set is_parked = true
    from (select * from overdue union all select * from later) as found
    where not waiting.is_parked and waiting.due_at = found.due_at and waiting.delivery_id = found.delivery_id
    returning waiting.endpoint_id, waiting.auction_id, waiting.is_test, waiting.due_at,
        webhook_delivery.next_attempt_at(waiting.due_at, waiting.not_before, waiting.end_reason) as next_attempt_at
), counted as (
    insert into webhook_delivery.parked_counts as known
    select
        endpoint_id,
        auction_id,
        is_test,
        count(*),
        count(*) filter (where next_attempt_at <= now()),
        min(due_at) filter (where next_attempt_at <= now()),
        min(next_attempt_at)
    from parked
    where exists (select from webhook_delivery.parked_counts)
    group by endpoint_id, auction_id, is_test
    on conflict on constraint parked_deliveries_are_counted_once do update set
        deliveries = known.deliveries + excluded.deliveries,
        due = known.due + excluded.due,
        oldest_due_at = least(known.oldest_due_at, excluded.oldest_due_at),
        next_attempt_at = least(known.next_attempt_at, excluded.next_attempt_at)
)
select
    case when (select count(*) from overdue) >= $4 then (select max(due_at) from overdue) end,
    case when (select count(*) from later) >= $4 then (select max(due_at) from later) end
