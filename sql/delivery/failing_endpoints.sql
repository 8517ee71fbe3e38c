-- Of which endpoints is a success news, because they have failed since the last one?
select health.endpoint_id
from webhook_delivery.endpoint_health as health
join webhook_delivery.endpoint_targets as endpoint on endpoint.id = health.endpoint_id
