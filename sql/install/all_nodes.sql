-- The history of all nodes of Citus, each of which keeps that of its own deliveries.

-- Other nodes call this function in a session with the usual search_path, in which the application
-- may have functions of its own: therefore nothing but this call is sent to them.
create function webhook_delivery.deliveries_of_this_node(auction_id uuid, before uuid, max_rows integer) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    deliveries jsonb;
begin
    -- Reads a page from the indexes. The condition on the times is for them.
    execute format(
        'select coalesce(jsonb_agg(found), ''[]'') from (
            select * from public.webhook_deliveries as delivery
            where true %s %s
            order by delivery.created_at desc, delivery.id desc limit %s) as found',
        case when auction_id is not null then format('and delivery.auction_id = %L', auction_id) end,
        case when before is not null then
            format('and delivery.created_at <= webhook_delivery.uuid_v7_time(%1$L) and delivery.id < %1$L', before) end,
        max_rows)
        into deliveries;
    return deliveries;
end
$$;

comment on function webhook_delivery.deliveries_of_this_node(uuid, uuid, integer) is
    'Returns the latest deliveries of an auction (null: of all) on this node as a JSON array: those before a delivery (null: all)';

create function webhook_delivery.read_deliveries_of_nodes(auction_id uuid, before uuid, max_rows integer) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    deliveries jsonb := '[]';
    node record;
begin
    if not webhook_delivery.has_citus() then
        return webhook_delivery.deliveries_of_this_node(auction_id, before, max_rows);
    end if;
    for node in
        execute 'select nodeid, success, result from run_command_on_all_nodes($1)'
            using format('select webhook_delivery.deliveries_of_this_node(%L, %L, %L)', auction_id, before, max_rows)
    loop
        if not node.success then
            -- The result names the address of the node, which is not for every caller.
            raise log 'webhook_delivery: node % of Citus did not return its deliveries: %', node.nodeid, node.result;
            raise exception using
                errcode = 'connection_failure',
                message = format('node %s of Citus did not return its deliveries', node.nodeid),
                hint = 'Until it does, webhook_deliveries on each other node has those of that node. The server log has the details.';
        end if;
        deliveries := deliveries || node.result::jsonb;
    end loop;
    return deliveries;
end
$$;

comment on function webhook_delivery.read_deliveries_of_nodes(uuid, uuid, integer) is 'Implements deliveries_of_nodes()';

-- Runs with the caller's rights, which decide which auctions the caller sees.
create function public.webhook_deliveries_of_all_nodes(
    auction_id uuid default null, before uuid default null, max_rows integer default 100
) returns setof public.webhook_deliveries
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- Checks the arguments, which LIMIT 0 would not.
    deliveries constant jsonb := webhook_delivery.deliveries_of_nodes(auction_id, before, max_rows);
begin
    return query
        select found.*
        from jsonb_populate_recordset(null::public.webhook_deliveries, deliveries) as found
        order by found.created_at desc, found.id desc
        limit max_rows;
end
$$;

comment on function public.webhook_deliveries_of_all_nodes(uuid, uuid, integer) is
    'Returns the latest deliveries of an auction that you may see, from all nodes of Citus; without an auction, those of all auctions, for operators. At most max_rows (1000). For the next page, give the id of the last row as before. Without Citus, rows of webhook_deliveries. Raises 08006 if a node does not answer, 22023 for other limits';
