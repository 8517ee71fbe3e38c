-- Where do deliveries to these endpoints go?
-- $1 endpoints
select id, auction_id, is_active, url, secret from webhook_delivery.endpoint_targets where id = any ($1)
