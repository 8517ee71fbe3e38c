-- Which of these auctions have an active endpoint that wants such an event? One index probe each, no row written. Everything
-- is qualified: it runs under the user's own search_path, because changing that would cost more than the probe.
-- $1 auctions, $2 event type
select wanted.auction_id
from webhook_delivery.subscriptions as wanted
where wanted.auction_id operator(pg_catalog.=) any ($1)
    and wanted.events operator(pg_catalog.&&) webhook_delivery.event_patterns($2)
