-- Was an endpoint deleted since the last sweep?
select from webhook_delivery.deleted_endpoints where not is_swept limit 1
