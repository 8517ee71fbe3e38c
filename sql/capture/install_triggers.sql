-- Which tables of the application are watched, and are the triggers on them?

create function webhook_delivery.watched_changes(
    out table_name name, out operation text, out event_type text, out key_column name, out unless_event text, out needed_columns name[]
) returns setof record
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    values
        ('submissions'::name, 'insert', 'submission.created', 'id'::name, null,
            array['id', 'auction_id', 'location_id', 'user_id', 'submitted_at', 'image_url']::name[]),
        ('submissions', 'update', 'submission.updated', 'id', 'submission.created',
            array['id', 'auction_id', 'location_id', 'user_id', 'submitted_at', 'image_url']),
        ('submission_entries', 'insert', 'submission.updated', 'submission_id', 'submission.created',
            array['id', 'submission_id', 'type_id', 'car_count', 'image_url', 'position']),
        ('submission_entries', 'update', 'submission.updated', 'submission_id', 'submission.created',
            array['id', 'submission_id', 'type_id', 'car_count', 'image_url', 'position']),
        ('submission_entries', 'delete', 'submission.updated', 'submission_id', 'submission.created',
            array['id', 'submission_id', 'type_id', 'car_count', 'image_url', 'position']),
        ('locations', null, null, null, null, array['id', 'name']),
        ('users', null, null, null, null, array['id', 'full_name']),
        ('count_types', null, null, null, null, array['id', 'name'])
    $$;

comment on function webhook_delivery.watched_changes() is
    'The contract with the application: each change that makes an event, the key of the row that the event is about, the event that makes it needless in the same transaction, and the columns read. Tables without an operation are only read';

create function webhook_delivery.install_triggers(
    out table_name name, out trigger_name name, out event_type text, out result text, out detail text
) returns setof record
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    change record;
    target regclass;
    missing text;
begin
    for change in select * from webhook_delivery.watched_changes() loop
        table_name := change.table_name;
        event_type := change.event_type;
        trigger_name := 'webhook_delivery_' || change.operation;
        detail := null;
        target := to_regclass(format('public.%I', change.table_name));
        select string_agg(needed, ', ') into missing
        from unnest(change.needed_columns) as needed
        where not exists (
            select from pg_attribute
            where attrelid = target and attname = needed and attnum > 0 and not attisdropped);
        if target is null then
            result := 'missing';
            detail := format('There is no table public.%I.', change.table_name);
        elsif missing is not null then
            result := 'missing';
            detail := format('public.%I has no column %s.', change.table_name, missing);
        elsif change.operation is null then
            result := 'found';
            detail := 'Read for payloads, not watched.';
        elsif exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
            result := 'already installed';
        else
            execute format(
                'create constraint trigger %I after %s on %s deferrable initially deferred for each row %s execute function webhook_delivery.note_change(%L, %L, %L)',
                trigger_name, change.operation, target,
                case change.operation when 'update' then 'when (old.* is distinct from new.*)' else '' end,
                change.event_type, change.key_column, coalesce(change.unless_event, ''));
            -- Without this, DROP EXTENSION would be refused for as long as the application's tables carry our triggers.
            execute format('alter trigger %I on %s depends on extension webhook_delivery', trigger_name, target);
            result := 'installed';
        end if;
        return next;
    end loop;
end
$$;

comment on function webhook_delivery.install_triggers() is
    'Attaches the capture triggers to those tables of the application that exist in public, and reports for each change what it did or what is missing. Run again it changes nothing';
