-- Queues one attempt of the catalogue's example; gives back the delivery's id, no row where there is no such type or the
-- endpoint was tested too often within a minute. A start that lies more than a minute ahead is from before the
-- clock was set back: counting begins again.
-- $1 endpoint, $2 its auction, $3 event type, $4 id of the delivery, $5 now
with counted as (
    insert into webhook_delivery.recent_tests as recent (endpoint_id, since, tests)
    values ($1, $5, 1)
    on conflict (endpoint_id) do update set
        since = case when recent.since between $5 - interval '1 minute' and $5 + interval '1 minute' then recent.since else $5 end,
        tests = case when recent.since between $5 - interval '1 minute' and $5 + interval '1 minute' then recent.tests + 1 else 1 end
    returning tests
), event as (
    insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
    select webhook_delivery.uuid_v7(), $2, known.event_type, $5, known.example
    from public.webhook_event_types as known, counted
    where known.event_type = $3 and counted.tests <= current_setting('webhook_delivery.tests_per_minute')::integer
    returning id, event_type
)
insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_test)
select $5, $4, $2, $1, event.id, event.event_type, true
from event
returning delivery_id
