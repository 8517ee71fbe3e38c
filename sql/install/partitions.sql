-- Partitions by time: created ahead, dropped when they expire.

create function webhook_delivery.partitions(parent name) returns table (partition name, begins_at timestamptz, ends_at timestamptz)
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select child.relname, webhook_delivery.uuid_v7_time(bounds[1]::uuid), webhook_delivery.uuid_v7_time(bounds[2]::uuid)
    from pg_inherits
    join pg_class as child on child.oid = pg_inherits.inhrelid
    -- The default partition has no bounds.
    cross join lateral regexp_match(pg_get_expr(child.relpartbound, child.oid), 'FROM [(]''(.*)''[)] TO [(]''(.*)''[)]') as bounds
    where pg_inherits.inhparent = format('webhook_delivery.%I', parent)::regclass and bounds is not null
    $$;

comment on function webhook_delivery.partitions(name) is
    'Returns the partitions of a table by time (events, attempts_ended, attempts_retried), and the time range of each; without the default partition';

create function webhook_delivery.create_partition(parent name, key name, day date, days integer default 1) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- Tablespace and access method of a partition do not depend on the session that creates it.
    set default_tablespace = ''
    set default_table_access_method = heap
    as $$
declare
    partition constant name := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    lower_bound constant uuid := webhook_delivery.uuid_v7_floor(day::timestamp at time zone 'UTC');
    upper_bound constant uuid := webhook_delivery.uuid_v7_floor((day + days)::timestamp at time zone 'UTC');
begin
    if to_regclass(format('webhook_delivery.%I', partition)) is not null then
        return false;
    end if;
    -- Rows of a day that has begun must be moved. An INSERT that has just chosen the default
    -- partition for another row would fail, and a query that was planned without the new partition
    -- would miss the moved rows: both wait for the lock on the parent.
    execute format('lock table only webhook_delivery.%I in %s mode', parent,
        case when lower_bound <= webhook_delivery.uuid_v7() then 'access exclusive' else 'share update exclusive' end);
    execute format('lock table webhook_delivery.%I in access exclusive mode', parent || '_default');
    -- Another session may have created it while this one waited for the locks.
    if to_regclass(format('webhook_delivery.%I', partition)) is not null then
        return false;
    end if;
    -- The partition is filled before it is attached: rows that were written before it existed are
    -- in the default partition.
    execute format('create table webhook_delivery.%I (like webhook_delivery.%I including all)', partition, parent || '_default');
    execute format(
        'with moved as (delete from webhook_delivery.%1$I where %2$I >= %3$L and %2$I < %4$L returning *)
         insert into webhook_delivery.%5$I select * from moved',
        parent || '_default', key, lower_bound, upper_bound, partition);
    execute format('alter table webhook_delivery.%I attach partition webhook_delivery.%I for values from (%L) to (%L)',
        parent, partition, lower_bound, upper_bound);
    -- LIKE does not copy row-level security.
    execute format('alter table webhook_delivery.%I enable row level security', partition);
    perform webhook_delivery.revoke_from_others(format('webhook_delivery.%I', partition)::regclass);
    return true;
end
$$;

comment on function webhook_delivery.create_partition(name, name, date, integer) is
    'Creates the partition that begins on this day and holds this number of days, unless a partition begins then; returns whether it was created. Locks the default partition';

create function webhook_delivery.create_partitions(days_ahead integer default 3) returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    -- While this session waits for a backup or a long transaction, all later sessions wait behind
    -- it.
    set lock_timeout = '50ms'
    as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    retention constant interval := current_setting('webhook_delivery.retention')::interval;
    -- About thirty partitions for the whole retention, however long it is: a page of the history
    -- opens all of them.
    span constant integer := case
        when retention = interval '0' then 30
        else greatest(1, ceil(extract(epoch from retention) / (30 * 86400)))
    end;
    tables record;
    day date;
    made_until date;
    next_day date;
begin
    for tables in
        select * from (values ('events', 'id'), ('attempts_ended', 'delivery_id'), ('attempts_retried', 'delivery_id'))
            as known (parent, key)
    loop
        -- Rows of the last week that were written while no worker created partitions are moved from
        -- the default partition. Partitions may lie far in the future if the clock once did.
        select least(greatest(coalesce(min((known.begins_at at time zone 'UTC')::date), today), today - 7), today) into day
        from webhook_delivery.partitions(tables.parent) as known;
        while day <= today + days_ahead loop
            select max((known.ends_at at time zone 'UTC')::date) filter (where (known.begins_at at time zone 'UTC')::date <= day),
                least(day + span, min((known.begins_at at time zone 'UTC')::date) filter (where (known.begins_at at time zone 'UTC')::date > day))
            into made_until, next_day
            from webhook_delivery.partitions(tables.parent) as known;
            if made_until > day then
                day := made_until;
                continue;
            end if;
            perform webhook_delivery.create_partition(tables.parent, tables.key, day, next_day - day);
            day := next_day;
        end loop;
    end loop;
    return true;
exception when lock_not_available then
    -- Nothing is lost: the default partition takes rows that have no other.
    return false;
end
$$;

comment on function webhook_delivery.create_partitions(integer) is
    'Creates the partitions of events and attempts that are missing, for today and the days ahead: of a day each, or of more days if webhook_delivery.retention is 0 or longer than thirty days. Returns false if another session, such as a backup, uses the tables: try again later. The worker, which owns no table, calls it';

create function webhook_delivery.drop_expired(out dropped name, out is_locked boolean)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    -- The function does not wait for sessions that use a table: all later sessions would wait
    -- behind it.
    set lock_timeout = '20ms'
    as $$
declare
    retention constant interval := current_setting('webhook_delivery.retention')::interval;
    before constant timestamptz := now() - retention;
begin
    is_locked := false;
    begin
        -- Waits for no transaction that uses a key.
        with old as (
            select kept.auction_id, kept.idempotency_key from webhook_delivery.idempotency_keys as kept
            where kept.created_at < now() - interval '1 day'
            limit 1000000 for update skip locked
        )
        delete from webhook_delivery.idempotency_keys as kept using old
        where kept.auction_id = old.auction_id and kept.idempotency_key = old.idempotency_key and kept.created_at < now() - interval '1 day';
    exception when lock_not_available then
        -- The next call deletes them.
        null;
    end;
    begin
        if retention = interval '0' then
            return;
        end if;
        select expired.partition into dropped
        from unnest('{attempts_retried, attempts_ended, events}'::name[]) with ordinality as known (parent, place)
        cross join lateral webhook_delivery.partitions(known.parent) as expired
        where expired.ends_at <= before
        order by expired.ends_at, known.place
        limit 1;
        if found then
            execute format('drop table webhook_delivery.%I', dropped);
            return;
        end if;
        -- Rows that had no partition: few, some of them the last attempts of deliveries that outlived
        -- their event.
        delete from webhook_delivery.events_default where ctid = any (array(
            select ctid from webhook_delivery.events_default where id < webhook_delivery.uuid_v7_floor(before) limit 10000));
        delete from webhook_delivery.attempts_ended_default where ctid = any (array(
            select ctid from webhook_delivery.attempts_ended_default where attempted_at < before limit 10000));
        delete from webhook_delivery.attempts_retried_default where ctid = any (array(
            select ctid from webhook_delivery.attempts_retried_default where attempted_at < before limit 10000));
        delete from public.webhook_deleted_endpoints where ctid = any (array(
            select ctid from public.webhook_deleted_endpoints where deleted_at < before limit 10000));
    exception when lock_not_available then
        dropped := null;
        is_locked := true;
    end;
end
$$;

comment on function webhook_delivery.drop_expired() is
    'Drops the oldest partition of events or attempts whose whole time range is older than webhook_delivery.retention, and returns its name. Returns null if none is left, having deleted what else is older; or null if is_locked shows that it is in use: try again later. For the worker';
