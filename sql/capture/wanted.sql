-- Which of these auctions have an active endpoint that wants such an event? One index probe each, no row written.
-- $1 auctions, $2 event type
select array_agg(auction.id)
from unnest($1) as auction(id)
where exists (
    select from webhook_delivery.subscriptions as wanted
    where wanted.auction_id = auction.id and wanted.events && webhook_delivery.event_patterns($2))
