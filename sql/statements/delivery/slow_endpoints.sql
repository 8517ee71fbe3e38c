-- The endpoints that were slow when that was last recorded.
select endpoint_id from webhook_delivery.slow_endpoints
