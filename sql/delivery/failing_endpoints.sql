-- Of which endpoints is a success news, because they have failed since the last one?
select endpoint_id from webhook_delivery.endpoint_health
