-- Citus: where it keeps the rows of the application's tables. Its catalogue is read with EXECUTE,
-- because most databases do not have it, and without pg_class, in which it hides shards from
-- clients.

create function webhook_delivery.has_citus() returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select to_regclass('pg_catalog.pg_dist_partition') is not null $$;

comment on function webhook_delivery.has_citus() is 'Returns whether this database has Citus';

create function webhook_delivery.citus_colocated_shards(
    shard regclass, out distributed_table regclass, out colocated_shard regclass, out shard_id bigint, out is_reference_table boolean
) returns setof record
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if shard is null or not webhook_delivery.has_citus() then
        return;
    end if;
    -- Local tables that Citus knows have one shard and colocationid 0.
    return query execute $query$
        with own as (
            select shard.shardid, shard.shardminvalue, known.repmodel, known.colocationid, class.relnamespace
            from pg_dist_shard as shard
            join pg_dist_partition as known on known.logicalrelid = shard.logicalrelid
            join pg_class as class on class.oid = shard.logicalrelid
            where shard.shardid = substring($1::text from '_([0-9]{1,18})"?$')::bigint
        ), colocated as (
            select known.logicalrelid::regclass, shard.shardid, known.repmodel = 't' as is_reference_table, to_regclass(
                case when space.nspname = 'public' then 'public.' else '' end || shard_name(known.logicalrelid, shard.shardid)) as shard
            from own
            join pg_dist_partition as known on known.repmodel = 't'
                or known.colocationid = own.colocationid and known.repmodel = own.repmodel
            join pg_dist_shard as shard on shard.logicalrelid = known.logicalrelid
                and (known.repmodel = 't' or shard.shardminvalue is not distinct from own.shardminvalue)
            join pg_class as class on class.oid = known.logicalrelid and class.relnamespace = own.relnamespace
            join pg_namespace as space on space.oid = class.relnamespace
        )
        select colocated.logicalrelid, colocated.shard, colocated.shardid, colocated.is_reference_table
        from colocated
        -- Not for a table that is only named like a shard.
        where exists (select from colocated as same join own on own.shardid = same.shardid where same.shard = $1)
    $query$ using shard;
end
$$;

comment on function webhook_delivery.citus_colocated_shards(regclass) is
    'Returns the tables of the same schema whose rows Citus keeps on one node with those of a shard, including its own: each with its shard there. No row if this is not a shard';

create function webhook_delivery.citus_placement(target regclass, out first_shard regclass, out makes_events boolean)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    own_id bigint;
begin
    makes_events := true;
    select (array_agg(colocated.colocated_shard order by colocated.is_reference_table, colocated.shard_id))[1],
        min(colocated.shard_id) filter (where colocated.colocated_shard = target)
        into first_shard, own_id
    from webhook_delivery.citus_colocated_shards(target) as colocated;
    if own_id is not null then
        -- With one placement always: while the shard moves, this node may not know yet that it has
        -- it.
        execute 'select count(*) <= 1 or min(placement.groupid) = (select groupid from pg_dist_local_group)
            from pg_dist_placement as placement where placement.shardid = $1'
            into makes_events using own_id;
    end if;
end
$$;

comment on function webhook_delivery.citus_placement(regclass) is
    'Returns, for the table of a trigger that fires, the first of the co-located shards, which stands for all of them (null if the table is no shard), and whether the rows of this node make events: of a table with copies on several nodes, those of the first node do';

create function webhook_delivery.citus_obstacle(target regclass, source_table regclass, is_watched boolean) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    obstacle text;
begin
    if not webhook_delivery.has_citus() or target is null or source_table is null then
        return null;
    end if;
    execute $query$
        with placed as (
            select class.oid, coalesce(known.repmodel = 't', false) as is_reference_table, nullif(known.colocationid, 0) as colocation,
                known.logicalrelid is null or known.partmethod = 'n' and known.repmodel = 's' and known.colocationid = 0 as is_local
            from pg_class as class
            left join pg_dist_partition as known on known.logicalrelid = class.oid
        )
        select format('Citus must keep its rows with those of %s: %sdistribute it with colocate_with',
            $2::regclass, case when $3 then '' else 'make it a reference table, or ' end)
        from placed as target, placed as source
        where target.oid = $1 and source.oid = $2
            and not (target.oid = source.oid or target.is_reference_table and (source.is_reference_table or not $3) or target.is_local and source.is_local
                or coalesce(target.colocation = source.colocation, false))
    $query$ into obstacle using target, source_table, is_watched;
    return obstacle;
end
$$;

comment on function webhook_delivery.citus_obstacle(regclass, regclass, boolean) is
    'Returns why events of the second table cannot read the first where Citus keeps their rows, in words; null if they can. The triggers of a watched table fire on its own shards, with which the others must be co-located';

create function webhook_delivery.citus_shards_here(event_type text, schema text) returns regclass[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    shards regclass[];
begin
    if webhook_delivery.has_citus() then
        execute $query$
            select coalesce(array_agg(distinct kept.first_shard) filter (where kept.first_shard is not null and kept.makes_events), '{}')
            from webhook_delivery.payload_queries as payload
            join pg_dist_shard as shard on shard.logicalrelid = to_regclass(format('%I.%I', $2, payload.source_table))
            left join pg_dist_placement as placement
                on placement.shardid = shard.shardid and placement.groupid = (select groupid from pg_dist_local_group)
            left join webhook_delivery.citus_placement(case when placement.shardid is not null then to_regclass(
                case when $2 = 'public' then 'public.' else '' end || shard_name(shard.logicalrelid, shard.shardid)) end) as kept
                on true
            where payload.event_type = $1
                -- A payload function reads no shard.
                and not exists (select from webhook_delivery.payload_functions as custom where custom.event_type = $1)
            having count(*) > 0
        $query$ into shards using event_type, schema;
    end if;
    return shards;
end
$$;

comment on function webhook_delivery.citus_shards_here(text, text) is
    'Returns the shards of this node with the rows of an event''s table: one for those that are co-located; null if Citus does not distribute the table';

create function webhook_delivery.citus_is_worker() returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    is_worker boolean := false;
begin
    if webhook_delivery.has_citus() then
        execute 'select bool_or(groupid <> 0) from pg_dist_local_group' into is_worker;
    end if;
    return coalesce(is_worker, false);
end
$$;

comment on function webhook_delivery.citus_is_worker() is 'Returns whether this is a node of Citus other than the coordinator';

create function webhook_delivery.citus_lacks_configuration() returns boolean
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    -- Another way than a subscription may have brought endpoints.
    select webhook_delivery.citus_is_worker() and not exists (select from public.webhook_endpoints) and not exists (
        select from pg_subscription_rel where srrelid = 'public.webhook_endpoints'::regclass and srsubstate in ('r', 's'))
    $$;

comment on function webhook_delivery.citus_lacks_configuration() is
    'Returns whether this node of Citus has not received the endpoints of the coordinator yet: its events become dead letters';
