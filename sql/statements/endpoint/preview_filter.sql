-- Returns the latest events of an auction that were sent, and the examples of the catalogue, and
-- whether each matches a filter.
-- $1 auction, $2 filter, $3 types as in an endpoint's events
with sent as (
    select log.event_id
    from webhook_delivery.attempts_ended as log
    where log.auction_id = $1 and not log.is_test
    order by log.created_at desc
    limit 1000
), wanted as (
    select known.event_type, known.example
    from public.webhook_event_types as known
    where known.family <> 'webhook' and $3 && array[known.event_type, known.family || '.*', '*']
), latest as (
    select event.event_type, event.occurred_at, event.data
    from webhook_delivery.events as event
    where event.id = any (array(select sent.event_id from sent)) and event.event_type in (select wanted.event_type from wanted)
    order by event.id desc
    limit 10
), tried as (
    select latest.event_type, latest.occurred_at, latest.data from latest
    union all
    select wanted.event_type, null, wanted.example from wanted
)
select tried.event_type, tried.occurred_at, tried.data::text,
    webhook_delivery.matches_filter($2::jsonpath, $1, tried.event_type, tried.data)
from tried
order by tried.occurred_at desc nulls last, tried.event_type
