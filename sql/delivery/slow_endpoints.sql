-- Which endpoints were slow when the worker last looked after them?
select endpoint_id from webhook_delivery.slow_endpoints
