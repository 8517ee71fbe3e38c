-- Where do deliveries to these endpoints go, and how?
-- $1 endpoints. Headers as names and values, waits in milliseconds; null where an endpoint has none, as most.
select endpoint.id, endpoint.auction_id, endpoint.is_active, endpoint.url, endpoint.secrets,
    case when endpoint.headers <> '{}' then
        array(select header.key from jsonb_each_text(endpoint.headers) as header order by header.key)
    end,
    case when endpoint.headers <> '{}' then
        array(select header.value from jsonb_each_text(endpoint.headers) as header order by header.key)
    end,
    case when endpoint.retry_schedule is not null then
        array(select (1000 * extract(epoch from given.wait))::bigint
            from unnest(endpoint.retry_schedule) with ordinality as given (wait, place) order by given.place)
    end,
    endpoint.ordered, endpoint.max_per_second, endpoint.is_paused
from webhook_delivery.endpoint_targets as endpoint
where endpoint.id = any ($1)
