-- Deletes events with their data, ends the deliveries that wait for them, and removes excerpts of
-- responses and addresses of redirects from the history. The attempts stay. Forgets deleted
-- endpoints, and idempotency keys with the text, unless the events of one row are meant. Returns the number of events deleted.
-- $1 auction; $2 row that the events must be about, or null; $3 text that their data must contain,
-- or null
with gone as (
    delete from webhook_delivery.events as event
    where event.auction_id = $1
        and ($2 is null or event.row_id = $2)
        -- The text as JSON writes it, without the quotes around it.
        and ($3 is null or position(substr(to_json($3)::text, 2, length(to_json($3)::text) - 2) in event.data::text) > 0)
    returning event.id
), ended as (
    update webhook_delivery.queue as waiting set end_reason = 'event_deleted', due_at = least(waiting.due_at, clock_timestamp())
    from gone
    where waiting.event_id = gone.id and waiting.end_reason is null
), cut as (
    update webhook_delivery.attempts as log set
        response_excerpt = null,
        -- Removes the address of a redirect.
        error_message = regexp_replace(log.error_message, ' [(]to .*', '')
    from gone
    where log.auction_id = $1 and log.event_id = gone.id and log.error_message is not null
), keys as (
    delete from webhook_delivery.idempotency_keys as known
    where known.auction_id = $1
        and (known.event_id in (select gone.id from gone)
            or $2 is null and ($3 is null or position($3 in known.idempotency_key) > 0))
), forgotten as (
    delete from public.webhook_deleted_endpoints as deleted
    where deleted.auction_id = $1 and $2 is null
        and ($3 is null or position($3 in deleted.url) > 0 or position($3 in deleted.description) > 0)
)
select count(*) from gone
