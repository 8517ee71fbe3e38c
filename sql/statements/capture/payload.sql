-- How the data of an event is read. Returns schema and name of the table whose rows it is about; the built-in query, or the call
-- and the oid of the application's function where it has set one; and the columns of the row as it was before that the query
-- reads, null for all.
-- $1 event type, $2 schema of the table that changed
select coalesce(custom.schema_name, schema.nspname)::text, coalesce(custom.table_name, payload.source_table)::text,
    payload.query,
    case when custom.event_type is not null then pg_catalog.format(
        'select told.id, told.auction_id, told.data from %s(%s) as told', custom.function_name, custom.arguments) end,
    case when custom.event_type is not null then coalesce(pg_catalog.to_regprocedure(pg_catalog.format('%s(%s)',
        custom.function_name, case custom.arguments when '$1' then 'uuid[]' else 'uuid[], json[]' end))::oid, 0::oid) end,
    -- As JSON, because the column is not there until ALTER EXTENSION UPDATE has brought it, and events are captured meanwhile.
    case when custom.event_type is null then (
        select pg_catalog.array_agg(given.name)
        from pg_catalog.json_array_elements_text(pg_catalog.to_json(payload) -> 'previous_columns') as given (name))
    end
from (values ($1)) as event (event_type)
left join pg_catalog.pg_namespace as schema on schema.oid = $2
left join webhook_delivery.payload_queries as payload on payload.event_type = event.event_type
left join webhook_delivery.payload_functions as custom on custom.event_type = event.event_type
where custom.event_type is not null or payload.event_type is not null
