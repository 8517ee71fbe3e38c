-- Queues past events for an endpoint that has not received them and whose filter does not reject them.
-- $1 endpoint, $2 its auction, $3 and $4 bounds of the period, of which $4 is excluded, $5 types as
-- in an endpoint's events, $6 due time of the first delivery, $7 microseconds between two
-- deliveries, $8 maximum number to queue, null for all
with wanted as materialized (
    select event.id, event.event_type, row_number() over (order by event.id) - 1 as place
    from webhook_delivery.events as event
    cross join (select endpoint.filter::jsonpath as filter from public.webhook_endpoints as endpoint where endpoint.id = $1) as wanting
    where event.id >= webhook_delivery.uuid_v7_floor($3) and event.id < webhook_delivery.uuid_v7_floor($4)
        and event.auction_id = $2
        -- Excludes tests: their events have not happened. A test is queued together with its event.
        and event.id not in (
            select tested.event_id from webhook_delivery.queue as tested where tested.auction_id = $2 and tested.is_test
            union all
            select tested.event_id from webhook_delivery.attempts_ended as tested
            where tested.auction_id = $2 and tested.created_at >= $3 - interval '1 minute' and tested.is_test)
        and (event.event_type = any ($5)
            or split_part(event.event_type, '.', 1) || '.*' = any ($5)
            or '*' = any ($5) and split_part(event.event_type, '.', 1) <> 'webhook')
        and not exists (
            select from webhook_delivery.queue as waiting where waiting.event_id = event.id and waiting.endpoint_id = $1)
        and not exists (
            select from webhook_delivery.attempts_ended as ended where ended.event_id = event.id and ended.endpoint_id = $1)
        and (wanting.filter is null or event.event_type like 'webhook.%'
            or webhook_delivery.matches_filter(wanting.filter, $2, event.event_type, event.data) is not false)
    order by event.id
    limit $8
)
insert into webhook_delivery.queue_recent (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
select $6 + wanted.place * $7 * interval '1 microsecond', webhook_delivery.uuid_v7(), $2, $1, wanted.id, wanted.event_type
from wanted
order by wanted.place
