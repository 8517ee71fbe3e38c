-- The history of all nodes of Citus, each of which keeps that of its own deliveries.

create function webhook_delivery.read_deliveries_of_nodes(auction_id uuid, until timestamptz, max_rows integer) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- Each node reads a page from its indexes.
    query constant text := format(
        'select coalesce(jsonb_agg(found), ''[]'') from (
            select * from public.webhook_deliveries as delivery
            where delivery.created_at <= %L::timestamptz %s
            order by delivery.created_at desc limit %s) as found',
        until, case when auction_id is not null then format('and delivery.auction_id = %L', auction_id) end, max_rows);
    deliveries jsonb := '[]';
    node record;
begin
    if not webhook_delivery.has_citus() then
        execute query into deliveries;
        return deliveries;
    end if;
    for node in execute 'select nodeid, success, result from run_command_on_all_nodes($1)' using query loop
        if not node.success then
            raise exception using
                errcode = 'connection_failure',
                message = format('node %s of Citus did not return its deliveries: %s', node.nodeid, node.result),
                hint = 'Until it answers, webhook_deliveries on each other node has those of that node.';
        end if;
        deliveries := deliveries || node.result::jsonb;
    end loop;
    return deliveries;
end
$$;

comment on function webhook_delivery.read_deliveries_of_nodes(uuid, timestamptz, integer) is 'Implements deliveries_of_nodes()';

-- Runs with the caller's rights, which decide which auctions the caller sees.
create function public.webhook_deliveries_of_all_nodes(
    auction_id uuid default null, until timestamptz default pg_catalog.now(), max_rows integer default 100
) returns setof public.webhook_deliveries
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not coalesce(max_rows between 1 and 1000, false) or until is null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = case when until is null then 'until must not be null' else format('max_rows must be from 1 to 1000, not %s', coalesce(max_rows::text, 'null')) end,
            hint = 'For the next page, give created_at of the last row as until.';
    end if;
    return query
        select found.*
        from jsonb_populate_recordset(null::public.webhook_deliveries, webhook_delivery.deliveries_of_nodes(auction_id, until, max_rows)) as found
        order by found.created_at desc, found.id desc
        limit max_rows;
end
$$;

comment on function public.webhook_deliveries_of_all_nodes(uuid, timestamptz, integer) is
    'Returns the latest deliveries of an auction that you may see, from all nodes of Citus; without an auction, those of all auctions, for operators. At most max_rows (1000), created until a time: for the next page, that of the last row, whose deliveries of the same millisecond come again. Without Citus, rows of webhook_deliveries. Raises 08006 if a node does not answer, 22023 for other limits';
