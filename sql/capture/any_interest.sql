-- Does any active endpoint of these auctions want such an event?
-- $1 auctions, $2 the entries of webhook_endpoints.events that match
select from webhook_delivery.subscriptions where auction_id = any ($1) and events && $2 limit 1
