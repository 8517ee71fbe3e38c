-- Nothing waits for the endpoints deleted so far. What was deleted a day ago is forgotten.
with forgotten as (
    delete from webhook_delivery.deleted_endpoints where is_swept and deleted_at < clock_timestamp() - interval '1 day'
)
update webhook_delivery.deleted_endpoints set is_swept = true where not is_swept
