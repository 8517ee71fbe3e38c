-- What of an endpoint do only we see?
-- $1 endpoint
select endpoint.url,
    case when starts_with(endpoint.secrets[1], 'whsec_') then 'whsec' when endpoint.secrets[1] is not null then 'own' end,
    (select stored.previous_until from webhook_delivery.endpoint_secrets as stored
        where stored.endpoint_id = endpoint.id and stored.previous_until > now()),
    case
        when pg_is_in_recovery() then 'standby'
        when worker.pid is null then 'no worker'
        when here.standing = 'sending' and worker.idle_because is null and worker.problem is null then 'sending'
        when here.standing = 'sending' then 'failing'
        else 'paused'
    end,
    endpoint.is_paused,
    -- Of the built-in events that it wants, those that no trigger makes.
    array(
        select known.event_type
        from public.webhook_event_types as known
        join public.webhook_endpoints as wanting on wanting.id = endpoint.id
        where known.is_builtin and known.family <> 'webhook'
            and wanting.events && array[known.event_type, known.family || '.*', '*']
            and not exists (
                select from pg_trigger as attached
                where attached.tgfoid in ('webhook_delivery.note_change'::regproc, 'webhook_delivery.row_event'::regproc)
                    and attached.tgenabled <> 'D'
                    and (webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs))[1] = known.event_type)
        order by known.event_type)
from webhook_delivery.endpoint_targets as endpoint
cross join webhook_delivery.standing as here
left join webhook_delivery.worker_report() as worker on true
where endpoint.id = $1
