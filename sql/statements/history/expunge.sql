-- Deletes the data of events: it leaves the events and what receivers have answered; that there were deliveries stays.
-- $1 auction; $2 only of events about this row, or null; $3 only of events with this text in their data, or null. Returns how many
-- events these were.
with gone as (
    delete from webhook_delivery.events as event
    where event.auction_id = $1
        and ($2 is null or event.row_id = $2)
        -- As JSON has it, without the quotes around it.
        and ($3 is null or position(substr(to_json($3)::text, 2, length(to_json($3)::text) - 2) in event.data::text) > 0)
    returning event.id
), ended as (
    update webhook_delivery.queue as waiting set end_reason = 'event_deleted', due_at = least(waiting.due_at, now())
    from gone
    where waiting.event_id = gone.id and waiting.end_reason is null
), cut as (
    update webhook_delivery.attempts as log set
        response_excerpt = null,
        -- The address of a redirect.
        error_message = regexp_replace(log.error_message, ' [(]to .*', '')
    from gone
    where log.auction_id = $1 and log.event_id = gone.id and log.error_message is not null
)
select count(*) from gone
