-- Returns the endpoints that have failed since their last success.
select health.endpoint_id
from webhook_delivery.endpoint_health as health
join webhook_delivery.endpoint_targets as endpoint on endpoint.id = health.endpoint_id
