-- The active endpoints of these auctions, with the events that they subscribe to.
-- $1 auctions
select wanted.auction_id, wanted.endpoint_id, wanted.events
from webhook_delivery.subscriptions as wanted
where wanted.auction_id = any ($1)
order by wanted.endpoint_id
