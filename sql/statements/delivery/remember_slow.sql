-- Which endpoints are slow, for the next worker: those that have become so, and not any more those that answer or are gone.
-- $1 endpoints that have become slow, $2 endpoints that are no longer
with forgotten as (
    delete from webhook_delivery.slow_endpoints as slow
    where slow.endpoint_id = any ($2)
        or not exists (select from webhook_delivery.endpoint_targets as endpoint where endpoint.id = slow.endpoint_id)
)
insert into webhook_delivery.slow_endpoints (endpoint_id)
select unnest($1::uuid[])
on conflict do nothing
