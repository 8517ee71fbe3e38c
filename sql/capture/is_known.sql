-- Is there such an event type?
-- $1 event type
select exists (select from webhook_delivery.catalogue as known where known.event_type = $1)
