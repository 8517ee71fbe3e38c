-- Where deliveries to these endpoints go, and how.
-- $1 endpoints. Headers as an object of texts, null where an endpoint has none, as most.
select id, auction_id, is_active, url, secrets, nullif(headers, '{}')::text, retry_schedule, ordered, max_per_second, is_paused
from webhook_delivery.endpoint_targets
where id = any ($1)
