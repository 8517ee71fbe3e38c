-- Returns the endpoints of these auctions for which events are queued, with the event types that
-- they subscribe to, and their filters.
-- $1 auctions
select wanted.auction_id, wanted.endpoint_id, wanted.events, wanted.filter::jsonpath
from webhook_delivery.subscriptions as wanted
where wanted.auction_id = any ($1)
order by wanted.endpoint_id
