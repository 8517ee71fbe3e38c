-- Returns the targets of these endpoints: URL, secrets, headers and limits. Headers are an object
-- of texts; null if the endpoint has none, which is the usual case.
-- $1 endpoints
select id, auction_id, is_active, url, algorithms, key_ids, secrets, nullif(headers, '{}')::text, retry_schedule, ordered, max_per_second, is_paused
from webhook_delivery.endpoint_targets
where id = any ($1)
