-- Records for the next worker which endpoints are slow: adds those that have become slow, and
-- removes those that are slow no longer or were deleted.
-- $1 endpoints that have become slow, $2 endpoints that are slow no longer
with forgotten as (
    delete from webhook_delivery.slow_endpoints as slow
    where slow.endpoint_id = any ($2)
        or not exists (select from webhook_delivery.endpoint_targets as endpoint where endpoint.id = slow.endpoint_id)
)
insert into webhook_delivery.slow_endpoints (endpoint_id)
select unnest($1::uuid[])
on conflict do nothing
