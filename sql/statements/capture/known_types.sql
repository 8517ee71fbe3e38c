-- Returns the names of all event types, as one text.
select string_agg(known.event_type, ', ' order by known.event_type) from public.webhook_event_types as known
