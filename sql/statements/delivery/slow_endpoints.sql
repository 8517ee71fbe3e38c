-- Returns the endpoints that were last recorded as slow.
select endpoint_id from webhook_delivery.slow_endpoints
