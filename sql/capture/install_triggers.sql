-- Which tables of the application are watched, and are the triggers on them?

create function webhook_delivery.watched_changes(
    out table_name name, out operation text, out event_type text, out key_column name, out auction_column name,
    out unless_event text, out read_as_owner_of name, out needed_columns text[]
) returns setof record
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    with needed(number, table_name, read_as_owner_of, columns) as (values
        (1, 'submissions'::name, 'submissions'::name,
            '{id uuid,auction_id uuid,location_id uuid,user_id uuid,submitted_at timestamptz,image_url text}'::text[]),
        (2, 'submission_entries', 'submissions',
            '{id uuid,submission_id uuid,type_id uuid,car_count numeric,image_url text,position numeric}'),
        (3, 'locations', 'submissions', '{id uuid,name text}'),
        (4, 'users', 'submissions', '{id uuid,full_name text}'),
        (5, 'count_types', 'submissions', '{id uuid,name text}')
    ), change(number, table_name, operation, event_type, key_column, auction_column, unless_event) as (values
        (1, 'submissions'::name, 'insert', 'submission.created', 'id'::name, 'auction_id'::name, null),
        (2, 'submissions', 'update', 'submission.updated', 'id', 'auction_id', 'submission.created'),
        (3, 'submission_entries', 'insert', 'submission.updated', 'submission_id', null, 'submission.created'),
        (4, 'submission_entries', 'update', 'submission.updated', 'submission_id', null, 'submission.created'),
        (5, 'submission_entries', 'delete', 'submission.updated', 'submission_id', null, 'submission.created')
    )
    select needed.table_name, change.operation, change.event_type, change.key_column, change.auction_column,
        change.unless_event, needed.read_as_owner_of, needed.columns
    from needed
    left join change on change.table_name = needed.table_name
    order by needed.number, change.number
    $$;

comment on function webhook_delivery.watched_changes() is
    'The contract with the application: each change that makes an event, the key and the auction of the row that the event is about, the event that makes it needless in the same transaction, the table whose owner reads the data, and the columns read with their types. Tables without an operation are only read';

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
        'no column ' || string_agg(found.name, ', ' order by found.number) filter (where found.declared is null),
        string_agg(format('column %I is %s, not %s', found.name, found.declared, found.type), '; ' order by found.number) filter (where
            found.base_type <> found.type
            -- A key is compared, and a time without a zone is another moment in each session. All else is shown: there, what
            -- the server turns into the type by itself does as well.
            and (found.type in ('uuid'::regtype, 'timestamptz'::regtype)
                or not exists (
                    select from pg_cast as conversion
                    where conversion.castsource = found.base_type and conversion.casttarget = found.type and conversion.castcontext = 'i')
                and not (found.type = 'text'::regtype and found.typtype = 'e'))))
    from found
    $$;

comment on function webhook_delivery.unsuitable_columns(regclass, text[]) is
    'What a table lacks of these columns (name and type each), in words; empty where nothing';

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
    'What keeps the owner of the second table from reading all rows of the first, in words; null where nothing does';

create function webhook_delivery.install_triggers(
    out table_name name, out trigger_name name, out event_type text, out result text, out detail text
) returns setof record
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    change record;
    target regclass;
    reader_of regclass;
    unsuitable text;
    obstacle text;
begin
    for change in select * from webhook_delivery.watched_changes() loop
        table_name := change.table_name;
        event_type := change.event_type;
        trigger_name := 'webhook_delivery_' || change.operation;
        detail := null;
        target := to_regclass(format('public.%I', change.table_name));
        reader_of := to_regclass(format('public.%I', change.read_as_owner_of));
        unsuitable := webhook_delivery.unsuitable_columns(target, change.needed_columns);
        obstacle := webhook_delivery.reading_obstacle(target, reader_of);
        if target is null then
            result := 'missing';
            detail := format('There is no table public.%I.', change.table_name);
        elsif unsuitable <> '' then
            result := 'unsuitable';
            detail := format('public.%I: %s.', change.table_name, unsuitable);
        elsif obstacle is not null then
            result := 'unreadable';
            detail := format('public.%I: %s.', change.table_name, obstacle);
        elsif change.operation is null then
            result := 'found';
            detail := 'Read for payloads, not watched.';
        elsif exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
            result := 'already installed';
        else
            execute format(
                'create trigger %I after %s on %s for each row %s execute function webhook_delivery.note_change(%L, %L, %L, %L)',
                trigger_name, change.operation, target,
                -- Compares the stored bytes: "is distinct from" needs an equality, which json, point and xml do not have.
                case change.operation when 'update' then 'when (old.* operator(pg_catalog.*<>) new.*)' else '' end,
                change.event_type, change.key_column, coalesce(change.auction_column, ''), coalesce(change.unless_event, ''));
            -- Without this, DROP EXTENSION would be refused for as long as the application's tables carry our triggers.
            execute format('alter trigger %I on %s depends on extension webhook_delivery', trigger_name, target);
            result := 'installed';
        end if;
        return next;
    end loop;
end
$$;

comment on function webhook_delivery.install_triggers() is
    'Attaches the capture triggers to those tables of the application that exist in public, and reports for each change what it did, or what is missing, unsuitable or unreadable. Run again it changes nothing';
