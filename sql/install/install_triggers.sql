-- The capture triggers on the application's tables: install_triggers() and remove_triggers().

create function webhook_delivery.unsuitable_columns(target regclass, needed_columns text[]) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    with needed as (
        select split_part(entry.text, ' ', 1)::name as name, split_part(entry.text, ' ', 2)::regtype as type, entry.number
        from unnest(needed_columns) with ordinality as entry(text, number)
    ), found as (
        select needed.number, needed.name, needed.type, attribute.atttypid::regtype as declared, base.typtype,
            case base.typtype when 'd' then base.typbasetype else attribute.atttypid end as base_type
        from needed
        left join pg_attribute as attribute
            on attribute.attrelid = target and attribute.attname = needed.name and attribute.attnum > 0 and not attribute.attisdropped
        left join pg_type as base on base.oid = attribute.atttypid
    )
    select concat_ws('; ',
        'no column ' || string_agg(format('%s %s', found.name, found.type), ', ' order by found.number) filter (where found.declared is null),
        string_agg(format('column %I is %s, not %s', found.name, found.declared, found.type), '; ' order by found.number) filter (where
            found.base_type <> found.type
            -- Keys are compared, and a time without time zone is another moment in each session:
            -- their types must match. Other columns are only shown: a type with an implicit cast,
            -- or an enum for text, is suitable too.
            and (found.type in ('uuid'::regtype, 'timestamptz'::regtype)
                or not exists (
                    select from pg_cast as conversion
                    where conversion.castsource = found.base_type and conversion.casttarget = found.type and conversion.castcontext = 'i')
                and not (found.type = 'text'::regtype and found.typtype = 'e'))))
    from found
    $$;

comment on function webhook_delivery.unsuitable_columns(regclass, text[]) is
    'Returns which of these columns (name and type each) a table lacks or has with an unsuitable type, in words; empty if none';

create function webhook_delivery.reading_obstacle(target regclass, reader_of regclass) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select case
        when not has_table_privilege(reader.oid, target, 'select')
            then format('%s, the owner of %s, may not read it', reader.rolname, reader_of)
        when relation.relrowsecurity and not reader.rolsuper and not reader.rolbypassrls
            and (relation.relforcerowsecurity or not pg_has_role(reader.oid, relation.relowner, 'usage'))
            then format('row-level security would hide rows of it from %s, the owner of %s', reader.rolname, reader_of)
    end
    from pg_class as relation
    join pg_class as watched on watched.oid = reader_of
    join pg_roles as reader on reader.oid = watched.relowner
    where relation.oid = target
    $$;

comment on function webhook_delivery.reading_obstacle(regclass, regclass) is
    'Returns what keeps the owner of the second table from reading all rows of the first, in words; null if nothing does';

create function webhook_delivery.execute_for_trigger(statement text) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    unsafe_triggers constant text := current_setting('citus.enable_unsafe_triggers', true);
begin
    if webhook_delivery.has_citus() then
        perform set_config('citus.enable_unsafe_triggers', 'on', true);
        execute statement;
        perform set_config('citus.enable_unsafe_triggers', unsafe_triggers, true);
    else
        execute statement;
    end if;
end
$$;

comment on function webhook_delivery.execute_for_trigger(text) is
    'Creates or drops a capture trigger. Citus must be told that triggers on distributed tables are meant';

create function webhook_delivery.make_trigger_depend_on_extension(trigger_name name, target regclass) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- Without this dependency DROP EXTENSION would be refused while the application's tables have
    -- these triggers. Citus refuses tables with such triggers, even as local tables that it knows.
    if not webhook_delivery.has_citus() then
        execute format('alter trigger %I on %s depends on extension webhook_delivery', trigger_name, target);
    end if;
end
$$;

comment on function webhook_delivery.make_trigger_depend_on_extension(name, regclass) is
    'Makes DROP EXTENSION drop a capture trigger. In a database with Citus this needs CASCADE';

create function webhook_delivery.install_triggers(
    schema text default 'public',
    out table_name name, out trigger_name name, out event_type text, out result text, out detail text
) returns setof record
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    needed record;
    change record;
    target regclass;
    source regclass;
    unsuitable text;
    obstacle text;
begin
    if to_regnamespace(quote_ident(schema)) is null then
        raise exception using errcode = 'invalid_schema_name', message = format('schema %I does not exist', schema),
            hint = 'Give the schema of the application''s tables; the default is public.';
    end if;
    for needed in
        select *, exists (
            select from webhook_delivery.payload_queries as payload
            join webhook_delivery.capture_rules as watched on watched.event_type = payload.event_type
            where payload.source_table = needed_table.source_table and watched.table_name = needed_table.table_name) as is_watched
        from webhook_delivery.required_tables as needed_table
        order by source_table, needed_table.table_name <> source_table, needed_table.table_name
    loop
        table_name := needed.table_name;
        trigger_name := null;
        event_type := null;
        detail := null;
        target := to_regclass(format('%I.%I', schema, needed.table_name));
        unsuitable := webhook_delivery.unsuitable_columns(target, needed.columns);
        source := to_regclass(format('%I.%I', schema, needed.source_table));
        obstacle := coalesce(webhook_delivery.reading_obstacle(target, source), webhook_delivery.citus_obstacle(target, source, needed.is_watched));
        if target is null then
            result := 'missing';
            detail := format('Table %I.%I does not exist.', schema, needed.table_name);
        elsif unsuitable <> '' then
            result := 'unsuitable';
            detail := format('%I.%I: %s.', schema, needed.table_name, unsuitable);
        elsif obstacle is not null then
            result := 'unreadable';
            detail := format('%I.%I: %s.', schema, needed.table_name, obstacle);
        elsif not needed.is_watched then
            result := 'found';
            detail := format('Read for events of %I.%I; its own changes are not captured.', schema, needed.source_table);
        end if;
        if result is not null then
            return next;
            result := null;
            continue;
        end if;
        -- The server reports a row that moves to another partition as deleted and inserted.
        if (select relkind from pg_class where oid = target) = 'p' then
            trigger_name := 'webhook_delivery_moved';
            if exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
                result := 'already installed';
            else
                perform webhook_delivery.execute_for_trigger(format(
                    'create trigger %I after insert or delete on %s for each row execute function webhook_delivery.capture_partition_move()',
                    trigger_name, target));
                perform webhook_delivery.make_trigger_depend_on_extension(trigger_name, target);
                result := 'installed';
            end if;
            detail := 'A row that moves to another partition is captured as an update.';
            return next;
            result := null;
            detail := null;
        end if;
        for change in
            select watched.* from webhook_delivery.capture_rules as watched
            join webhook_delivery.payload_queries as payload on payload.event_type = watched.event_type
            where watched.table_name = needed.table_name and payload.source_table = needed.source_table
            order by watched.event_type, array_position('{insert,update,delete}', watched.operation)
        loop
            event_type := change.event_type;
            trigger_name := format('webhook_delivery_%s_%s', replace(change.event_type, '.', '_'), change.operation);
            if exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
                result := 'already installed';
            else
                perform webhook_delivery.execute_for_trigger(format(
                    'create trigger %I after %s on %s for each row %s execute function webhook_delivery.capture_row_change(%L, %L, %L, %L, %L, %L, %L)',
                    trigger_name, change.operation, target,
                    -- Compares the stored bytes: "is distinct from" needs an equality operator,
                    -- which json, point and xml do not have.
                    case change.operation when 'update' then 'when (old.* operator(pg_catalog.*<>) new.*)' else '' end,
                    change.event_type, change.key_column, coalesce(change.auction_column, ''), coalesce(change.subject_column, ''),
                    coalesce(change.suppressed_by_event, ''), coalesce(change.changed_column, ''), case when change.include_previous then 'previous' else '' end));
                perform webhook_delivery.make_trigger_depend_on_extension(trigger_name, target);
                result := 'installed';
            end if;
            return next;
            result := null;
        end loop;
    end loop;
    detail := webhook_delivery.access_problem();
    if detail is not null then
        table_name := case when current_setting('webhook_delivery.access_function') = '' then 'auction_members' end;
        trigger_name := null;
        event_type := null;
        result := 'access';
        return next;
    end if;
end
$$;

comment on function webhook_delivery.install_triggers(text) is
    'Attaches the capture triggers to those tables of the application that exist in the schema. Reports for each change what was done, and for each table what is missing, unsuitable or unreadable; with the result access, what is wrong with who sees endpoints. A second call changes nothing';

create function webhook_delivery.remove_triggers(out table_name regclass, out trigger_name name) returns setof record
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    for table_name, trigger_name in
        select attached.tgrelid::regclass, attached.tgname
        from pg_trigger as attached
        where attached.tgfoid in ('webhook_delivery.capture_row_change'::regproc, 'webhook_delivery.capture_partition_move'::regproc) and attached.tgparentid = 0
            and starts_with(attached.tgname, 'webhook_delivery_')
            -- Citus drops the trigger of a distributed table from its shards too.
            and (webhook_delivery.citus_placement(attached.tgrelid)).first_shard is null
        order by attached.tgrelid::regclass::text, attached.tgname
    loop
        perform webhook_delivery.execute_for_trigger(format('drop trigger %I on %s', trigger_name, table_name));
        return next;
    end loop;
end
$$;

comment on function webhook_delivery.remove_triggers() is
    'Drops all triggers that install_triggers() has attached, in every schema, and returns them';
