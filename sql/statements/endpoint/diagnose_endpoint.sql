-- Reads the part of an endpoint's diagnosis that only the owner of the extension may read.
-- $1 endpoint
with wanted as (
    -- emit() sends event types of the application without a trigger. A missing trigger is therefore
    -- reported for such a type only if the endpoint names the type or its family.
    select known.event_type, known.is_builtin or wanting.events && array[known.event_type, known.family || '.*'] as is_expected
    from public.webhook_event_types as known
    join public.webhook_endpoints as wanting on wanting.id = $1
    where known.family <> 'webhook' and wanting.events && array[known.event_type, known.family || '.*', '*']
), attached as (
    select (webhook_delivery.trigger_arguments(made.tgargs, made.tgnargs))[1] as event_type, bool_or(made.tgenabled in ('D', 'R')) as is_disabled
    from pg_trigger as made
    where made.tgfoid in ('webhook_delivery.capture_row_change'::regproc, 'webhook_delivery.row_event'::regproc)
    group by 1
), emitted as (
    -- Events of emit() are about no row.
    select latest.event_type
    from (
        select log.event_type, log.event_id from webhook_delivery.attempts_ended as log
        where log.endpoint_id = $1 and not log.is_test
        order by log.created_at desc
        limit 100
    ) as latest
    join webhook_delivery.events as event on event.id = latest.event_id
    where event.row_id is null
)
select endpoint.url,
    endpoint.algorithms, endpoint.key_ids, endpoint.secrets,
    (select max(stored.signs_until) from webhook_delivery.endpoint_secrets as stored
        where stored.endpoint_id = endpoint.id and stored.signs_until > now()),
    webhook_delivery.worker_state(here.state, worker.pid, worker.problem, worker.idle_reason),
    endpoint.is_paused,
    -- Event types that the endpoint subscribes to: those that no trigger makes, those whose trigger
    -- is disabled, and those with events that could not be built, of its auction or of an unknown
    -- one.
    array(select wanted.event_type from wanted where wanted.is_expected and wanted.event_type not in (
        select attached.event_type from attached where attached.event_type is not null
        union all
        select emitted.event_type from emitted) order by wanted.event_type),
    array(select wanted.event_type from wanted join attached using (event_type) where attached.is_disabled order by wanted.event_type),
    array(select distinct dead.event_type from webhook_delivery.capture_errors as dead join wanted using (event_type)
        where dead.auction_ids is null or endpoint.auction_id = any (dead.auction_ids) or array_position(dead.auction_ids, null) is not null
        order by dead.event_type)
from webhook_delivery.endpoint_targets as endpoint
cross join webhook_delivery.send_state as here
left join webhook_delivery.worker_report() as worker on true
where endpoint.id = $1
