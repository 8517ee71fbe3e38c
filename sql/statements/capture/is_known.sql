-- Returns whether an event type exists.
-- $1 event type
select exists (select from public.webhook_event_types as known where known.event_type = $1)
