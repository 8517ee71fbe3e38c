-- Finds how the data of an event type is read; no row if it has neither a payload query nor a
-- payload function. Returns schema and name of the table that the rows of the event are in, the
-- built-in query, the call and the oid of the application's payload function (null if none is set;
-- the oid is 0 if the function no longer exists), the columns of the previous row that the built-in
-- query reads (null for all columns), and the tables that it reads: their names in the query, and
-- in this schema or on this shard.
-- $1 event type, $2 oid of the schema of the table that changed, $3 oid of the first of its
-- co-located shards, null without Citus
select coalesce(custom.schema_name, schema.nspname)::text, coalesce(custom.table_name, payload.source_table)::text,
    payload.query,
    case when custom.event_type is not null then pg_catalog.format(
        'select told.id, told.auction_id, told.data from %s(%s) as told', custom.function_name, custom.arguments) end,
    case when custom.event_type is not null then coalesce(pg_catalog.to_regprocedure(pg_catalog.format('%s(%s)',
        custom.function_name, case custom.arguments when '$1' then 'uuid[]' else 'uuid[], json[]' end))::oid, 0::oid) end,
    -- Read through JSON: ALTER EXTENSION UPDATE adds the column, and events are captured before
    -- that.
    case when custom.event_type is null then (
        select pg_catalog.array_agg(given.name)
        from pg_catalog.json_array_elements_text(pg_catalog.to_json(payload) -> 'previous_columns') as given (name))
    end,
    needed.names, needed.tables
from (values ($1)) as event (event_type)
left join pg_catalog.pg_namespace as schema on schema.oid = $2
left join webhook_delivery.payload_queries as payload on payload.event_type = event.event_type
left join webhook_delivery.payload_functions as custom on custom.event_type = event.event_type
cross join lateral (
    select pg_catalog.array_agg(needed_table.table_name::text) as names,
        pg_catalog.array_agg(coalesce(kept.colocated_shard::text, named.name)) as tables
    from webhook_delivery.required_tables as needed_table
    cross join lateral (select pg_catalog.format('%I.%I', schema.nspname, needed_table.table_name) as name) as named
    left join webhook_delivery.citus_colocated_shards($3) as kept
        on kept.distributed_table operator(pg_catalog.=) pg_catalog.to_regclass(named.name)
    where needed_table.source_table = payload.source_table and schema.oid is not null
) as needed
where custom.event_type is not null or payload.event_type is not null
