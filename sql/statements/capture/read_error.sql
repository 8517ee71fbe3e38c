-- Reads a dead letter and locks it for recapture. The oids of the schema and of the table are null
-- if these no longer exist. The last column has the present arguments of the row_event() trigger,
-- without the event type.
-- $1 id of the dead letter
select dead.occurred_at, dead.event_type, dead.row_ids, to_regnamespace(quote_ident(dead.schema_name))::oid, dead.auction_ids is not null,
    to_regclass(quote_ident(dead.schema_name) || '.' || quote_ident(dead.table_name))::oid, dead.auction_ids,
    coalesce(dead.data, dead.previous_rows)::text[],
    (select (webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs))[2:]
        from pg_trigger as attached
        where attached.tgrelid = to_regclass(quote_ident(dead.schema_name) || '.' || quote_ident(dead.table_name))
            and attached.tgfoid = 'webhook_delivery.row_event'::regproc and attached.tgenabled <> 'D'
            and (webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs))[1] = dead.event_type
        order by attached.oid desc
        limit 1)
from webhook_delivery.capture_errors as dead
where dead.id = $1
for update
