-- How is the data of an event read? Gives schema and name of the table whose rows it is about, and a query that gives ids,
-- auctions and data. Last the function of the application's own, where it has set one.
-- $1 event type, $2 schema of the table that changed
select coalesce(custom.schema_name, schema.nspname)::text, coalesce(custom.table_name, payload.source_table)::text,
    case
        when custom.event_type is not null then pg_catalog.format(
            'select told.id, told.auction_id, told.data from %s(%s) as told', custom.function_name, custom.arguments)
        else pg_catalog.replace(pg_catalog.replace(payload.query,
            '@application@', pg_catalog.quote_ident(schema.nspname)),
            '@event@', pg_catalog.quote_literal(event.event_type))
    end,
    case when custom.event_type is not null then coalesce(pg_catalog.to_regprocedure(pg_catalog.format('%s(%s)',
        custom.function_name, case custom.arguments when '$1' then 'uuid[]' else 'uuid[], json[]' end))::oid, 0::oid) end
from (values ($1)) as event (event_type)
left join pg_catalog.pg_namespace as schema on schema.oid = $2
left join webhook_delivery.payloads as payload on payload.event_type = event.event_type
left join webhook_delivery.payload_functions as custom on custom.event_type = event.event_type
where custom.event_type is not null or payload.event_type is not null
