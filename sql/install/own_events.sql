-- Event types and payload functions of the application, and the checks of the triggers that it
-- creates.

create function webhook_delivery.first_without(roles oid[], rights_of oid) returns name
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select role.rolname
    from unnest(roles) with ordinality as given (role, place)
    join pg_roles as role on role.oid = given.role
    where not pg_has_role(given.role, rights_of, 'usage')
    order by given.place
    limit 1
    $$;

comment on function webhook_delivery.first_without(oid[], oid) is
    'Returns the first of these roles that does not have the rights of that role; null if all have them';

create function webhook_delivery.register_event_type(name text, description text, schema json, example json) returns void
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if name is null or description is null or schema is null or example is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = 'name, description, schema and example cannot be null',
            hint = 'The schema ''true'' allows everything; webhook_delivery.schema_of() makes a schema of a shape.';
    elsif name !~ '^[a-z][a-z0-9_]{0,62}[.][a-z][a-z0-9_]{0,62}$' then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('invalid event type name: %s', quote_literal(name)),
            hint = 'Use family.what_happened, in lower case: order.created.';
    elsif name like 'webhook.%' then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'event type family webhook is reserved for operational events',
            hint = 'Choose another family.';
    elsif json_typeof(schema) not in ('object', 'boolean') then
        raise exception using errcode = 'invalid_parameter_value', message = 'JSON Schema must be an object or a boolean',
            hint = 'The schema ''true'' allows everything; webhook_delivery.schema_of() makes a schema of a shape.';
    end if;
    insert into public.webhook_event_types as known (event_type, description, schema, example)
    values (name, register_event_type.description, register_event_type.schema, register_event_type.example)
    on conflict (event_type) do update
        set description = excluded.description, schema = excluded.schema, example = excluded.example
        where not known.is_builtin;
    if not found then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('cannot change built-in event type %s', name),
            hint = 'Choose another name, or change how its data is read with webhook_delivery.set_payload_function().';
    end if;
end
$$;

comment on function webhook_delivery.register_event_type(text, text, json, json) is
    'Adds or changes an event type of the application''s own: endpoints can subscribe to it, it can be emitted and tested, and the catalogue shows it. name is family.what_happened, schema the JSON Schema of its data, example the data that test_webhook() sends. Raises 22023 for an invalid name or schema, the family webhook and a built-in event type; 22004 for a null';

create function webhook_delivery.returned_columns(function regprocedure) returns text[]
    language sql stable
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
    as $$
    select array(
        select format('%s %s', out.name, out.type::regtype)
        from unnest(proc.proargnames, proc.proallargtypes, proc.proargmodes) with ordinality as out (name, type, mode, number)
        where out.mode in ('t', 'o', 'b')
        order by out.number)
        || array(
            select format('%s %s', attribute.attname, attribute.atttypid::regtype)
            from pg_type as result
            join pg_attribute as attribute on attribute.attrelid = result.typrelid
            where result.oid = proc.prorettype and attribute.attnum > 0 and not attribute.attisdropped)
    from pg_proc as proc
    where proc.oid = function
    $$;

comment on function webhook_delivery.returned_columns(regprocedure) is 'Returns names and types of the columns of the rows that a function returns';

-- Implements set_payload_function(), which calls it with the rights of the owner of the extension.
create function webhook_delivery.set_payload_function_for(callers oid[], event_type text, function regprocedure, for_table regclass)
    returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    -- Type names are compared as text.
    set quote_all_identifiers = off
    as $$
declare
    target constant regclass := coalesce(for_table, (
        select to_regclass(format('%I.%I', known.schema_name, known.table_name))
        from webhook_delivery.payload_functions as known
        where known.event_type = set_payload_function_for.event_type and function is null), (
        select to_regclass(format('public.%I', payload.source_table))
        from webhook_delivery.payload_queries as payload
        where payload.event_type = set_payload_function_for.event_type));
    call_arguments text;
    lacking text;
    relation record;
    others regclass;
begin
    if event_type is null or not exists (
        select from public.webhook_event_types as known where known.event_type = set_payload_function_for.event_type)
    then
        raise exception using errcode = 'invalid_parameter_value', message = format('unknown event type: %s', event_type),
            hint = 'Register it with webhook_delivery.register_event_type() first.';
    elsif target is null then
        raise exception using errcode = 'undefined_table',
            message = format('no table for event type %s', event_type),
            hint = 'Name the table with the rows that the event is about: set_payload_function(event_type, function, for_table => ''schema.table'').';
    end if;
    select owner.rolname as owner, space.nspname as schema_name, class.relname as table_name, class.relowner into relation
    from pg_class as class
    join pg_roles as owner on owner.oid = class.relowner
    join pg_namespace as space on space.oid = class.relnamespace
    where class.oid = target;
    select class.oid into others
    from pg_class as class
    where webhook_delivery.first_without(callers, class.relowner) is not null
        and class.oid in (
            select target
            union all
            select to_regclass(format('%I.%I', known.schema_name, known.table_name))
            from webhook_delivery.payload_functions as known
            where known.event_type = set_payload_function_for.event_type
            union all
            select to_regclass(format('public.%I', payload.source_table))
            from webhook_delivery.payload_queries as payload
            where payload.event_type = set_payload_function_for.event_type
            union all
            select attached.tgrelid
            from pg_trigger as attached
            where attached.tgfoid = 'webhook_delivery.capture_row_change'::regproc
                and (webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs))[1] = set_payload_function_for.event_type)
    order by class.oid <> target, class.oid
    limit 1;
    if others is not null then
        raise exception using errcode = 'insufficient_privilege',
            message = format('role %s must be owner of %s', webhook_delivery.first_without(callers, (select relowner from pg_class where oid = others)), others),
            hint = 'The role that sets a payload function must own all tables whose changes make the event.';
    end if;
    if function is null then
        delete from webhook_delivery.payload_functions as known where known.event_type = set_payload_function_for.event_type;
        return;
    end if;
    select case oidvectortypes(proc.proargtypes) when 'uuid[]' then '$1' when 'uuid[], json[]' then '$1, $2' end into call_arguments
    from pg_proc as proc
    where proc.oid = function and proc.prokind = 'f';
    select string_agg(needed, ', ') into lacking
    from unnest('{id uuid,auction_id uuid,data json}'::text[]) as needed
    where needed <> all (webhook_delivery.returned_columns(function));
    if call_arguments is null then
        raise exception using errcode = 'invalid_function_definition',
            message = format('%s cannot be a payload function', function),
            hint = 'A payload function takes the keys of rows, uuid[], or these and the rows as they were before the transaction, uuid[] and json[].';
    elsif lacking is not null then
        raise exception using errcode = 'invalid_function_definition',
            message = format('%s cannot be a payload function: it does not return %s', function, lacking),
            hint = 'Declare it as: returns table (id uuid, auction_id uuid, data json).';
    elsif not has_function_privilege(relation.relowner, function, 'execute') then
        raise exception using errcode = 'insufficient_privilege',
            message = format('%s, the owner of %s, may not execute %s', relation.owner, target, function),
            hint = format('grant execute on function %s to %I', function, relation.owner);
    elsif not pg_has_role((select proowner from pg_proc where oid = function), relation.relowner, 'usage') then
        raise exception using errcode = 'insufficient_privilege',
            message = format('owner of %s must have the rights of %s, the owner of %s', function, relation.owner, target),
            hint = format('Create the function as %I.', relation.owner);
    end if;
    insert into webhook_delivery.payload_functions as known (event_type, schema_name, table_name, function_name, arguments)
    select set_payload_function_for.event_type, relation.schema_name, relation.table_name,
        format('%I.%I', space.nspname, proc.proname), call_arguments
    from pg_proc as proc
    join pg_namespace as space on space.oid = proc.pronamespace
    where proc.oid = function
    on conflict on constraint an_event_has_one_payload_function do update
        set schema_name = excluded.schema_name, table_name = excluded.table_name,
            function_name = excluded.function_name, arguments = excluded.arguments;
end
$$;

comment on function webhook_delivery.set_payload_function_for(oid[], text, regprocedure, regclass) is
    'Implements set_payload_function() for a call of these roles, each of which must own the tables';
comment on function webhook_delivery.set_payload_function(text, regprocedure, regclass) is
    'Sets a function of the application that returns the data of an event: f(uuid[]) or f(uuid[], json[]) returns table (id uuid, auction_id uuid, data json), called with the rights of the owner of the table. The caller must own all tables whose changes make the event. A null function removes the setting. for_table is the table with the rows that the event is about, if that is not the built-in one';

create function webhook_delivery.trigger_arguments(arguments bytea, number integer) returns text[]
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    -- Each argument ends with a zero byte. The bytes are split as hexadecimal text, two digits and
    -- a space for each byte, because a text cannot have a zero byte.
    select (array_agg(convert_from(decode(part.bytes, 'hex'), 'UTF8') order by part.number))[1:trigger_arguments.number]
    from unnest(string_to_array(regexp_replace(encode(arguments, 'hex'), '(..)', chr(92) || '1 ', 'g'), '00 ')) with ordinality as part (bytes, number)
    $$;

comment on function webhook_delivery.trigger_arguments(bytea, integer) is 'Returns the arguments of a trigger, from tgargs and tgnargs of pg_trigger';

create function webhook_delivery.key_problem(target regclass, column_name text) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select coalesce(
        (select case when coalesce(nullif(type.typbasetype, 0), type.oid) <> 'uuid'::regtype
            then format('column %I is %s, not uuid', column_name, type.oid::regtype) else '' end
        from pg_attribute as attribute
        join pg_type as type on type.oid = attribute.atttypid
        where attribute.attrelid = target and attribute.attname = column_name and attribute.attnum > 0 and not attribute.attisdropped),
        format('no column %I', column_name))
    $$;

comment on function webhook_delivery.key_problem(regclass, text) is
    'Returns why a column cannot be a key or name an auction, in words; empty if it can';

-- Implements check_attached_triggers(), which calls it with the rights of the owner of the
-- extension.
create function webhook_delivery.check_attached_triggers_for(callers oid[]) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    attached record;
    given text[];
    problem text;
    own regclass;
begin
    -- Functions of the extension write to its tables with the rights of its owner. A trigger that
    -- another role created on such a table would run with these rights.
    if exists (
        select from pg_roles as caller, pg_namespace as private
        where private.nspname = 'webhook_delivery' and caller.oid = any (callers)
            -- BYPASSRLS does not suffice: the trigger would have more rights than that.
            and not pg_has_role(caller.oid, private.nspowner, 'usage'))
    then
        select made.tgrelid into own
        from pg_event_trigger_ddl_commands() as command
        join pg_trigger as made on made.oid = command.objid
        join pg_class as class on class.oid = made.tgrelid
        where command.classid = 'pg_trigger'::regclass
            and (class.relnamespace = 'webhook_delivery'::regnamespace or exists (
                select from pg_depend as member
                where member.classid = 'pg_class'::regclass and member.objid = class.oid and member.deptype = 'e'
                    and member.refclassid = 'pg_extension'::regclass
                    and member.refobjid = (select oid from pg_extension where extname = 'webhook_delivery')))
        limit 1;
        if own is not null then
            raise exception using errcode = 'insufficient_privilege',
                message = format('permission denied to create a trigger on %s', own),
                hint = 'Triggers on tables of the extension need the rights of its owner. To react to changes of endpoints, subscribe to webhook.* events, or create a trigger on a table of your own.';
        end if;
    end if;
    for attached in
        select made.tgfoid, made.tgtype, made.tgnargs, made.tgargs, made.tgrelid, class.relowner, class.relkind, proc.proname
        from pg_event_trigger_ddl_commands() as command
        join pg_trigger as made on made.oid = command.objid
        join pg_class as class on class.oid = made.tgrelid
        join pg_proc as proc on proc.oid = made.tgfoid
        where command.classid = 'pg_trigger'::regclass
            and made.tgfoid in ('webhook_delivery.row_event'::regproc, 'webhook_delivery.capture_row_change'::regproc, 'webhook_delivery.capture_partition_move'::regproc)
    loop
        if webhook_delivery.first_without(callers, attached.relowner) is not null then
            raise exception using errcode = 'insufficient_privilege',
                message = format('role %s must be owner of %s', webhook_delivery.first_without(callers, attached.relowner), attached.tgrelid::regclass),
                hint = 'The owner of a table decides which events its rows make.';
        end if;
        given := webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs);
        problem := case
            -- ROW, and neither BEFORE nor INSTEAD: see pg_trigger.h.
            when attached.tgtype & 1 = 0 or attached.tgtype & 66 <> 0 then 'it must be AFTER ... FOR EACH ROW'
            when attached.proname = 'capture_partition_move' then null
            when attached.tgnargs < 2 then case attached.proname
                when 'row_event' then 'its arguments must be an event type, the column of the auction, and columns to leave out'
                else 'its arguments must be an event type, a key column and up to five more' end
            when attached.proname = 'row_event' then coalesce(
                nullif(webhook_delivery.key_problem(attached.tgrelid, given[2]), ''),
                (select 'no column ' || string_agg(left_out, ', ')
                from unnest(given[3:]) as left_out
                where not exists (
                    select from pg_attribute
                    where attrelid = attached.tgrelid and attname = left_out and attnum > 0 and not attisdropped)),
                case when attached.tgtype & 16 <> 0 and 'previous' <> all (given[3:]) and exists (
                    select from pg_attribute
                    where attrelid = attached.tgrelid and attname = 'previous' and attnum > 0 and not attisdropped)
                    then 'column previous has the name of the field with former values: leave it out' end)
            else (
                select string_agg(nullif(webhook_delivery.key_problem(attached.tgrelid, column_name), ''), '; ')
                from unnest(given[2:4]) as column_name
                where column_name <> '')
        end;
        if problem is not null then
            raise exception using errcode = 'invalid_parameter_value',
                message = format('invalid trigger of webhook_delivery.%s(): %s', attached.proname, problem),
                hint = case attached.proname
                    when 'capture_partition_move' then 'create trigger ... after insert or delete on ... for each row execute function webhook_delivery.capture_partition_move()'
                    when 'row_event'
                    then 'create trigger ... after insert or update on ... for each row execute function webhook_delivery.row_event(''order.created'', ''auction_id'')'
                    else 'create trigger ... after insert on ... for each row execute function webhook_delivery.capture_row_change(''submission.created'', ''id'', ''auction_id'')' end;
        end if;
        continue when attached.proname = 'capture_partition_move';
        -- A warning, not an error: the missing trigger may be created next, as pg_restore does.
        if attached.relkind = 'p' and not exists (
            select from pg_trigger as moved
            where moved.tgrelid = attached.tgrelid and moved.tgfoid = 'webhook_delivery.capture_partition_move'::regproc)
        then
            raise warning using
                message = format('a row of %s that moves to another partition may be captured as deleted and created', attached.tgrelid::regclass),
                hint = format('create trigger webhook_delivery_moved after insert or delete on %s for each row execute function webhook_delivery.capture_partition_move()', attached.tgrelid::regclass);
        end if;
        -- A warning, not an error: pg_restore --schema-only restores the triggers and not the
        -- catalogue.
        if not exists (select from public.webhook_event_types as known where known.event_type = given[1]) then
            raise warning using errcode = 'invalid_parameter_value', message = format('unknown event type: %s', given[1]),
                hint = 'Register it with webhook_delivery.register_event_type().';
        end if;
    end loop;
end
$$;

comment on function webhook_delivery.check_attached_triggers_for(oid[]) is
    'Implements check_attached_triggers() for a statement of these roles';
comment on function webhook_delivery.check_attached_triggers() is
    'Event trigger: raises 42501 if a role without the rights of the extension''s owner creates a trigger on a table of the extension, or a role creates a trigger of row_event(), capture_row_change() or capture_partition_move() on a table that it does not own; raises 22023 if arguments of such a trigger are invalid';

create event trigger webhook_delivery_check_attached_triggers on ddl_command_end
    when tag in ('CREATE TRIGGER') execute function webhook_delivery.check_attached_triggers();

comment on event trigger webhook_delivery_check_attached_triggers is
    'Checks triggers when they are created: those on tables of the extension, and those of row_event(), capture_row_change() and capture_partition_move()';

create function webhook_delivery.emit_statement(event_type text) returns text
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
    as $$
    select format('select webhook_delivery.emit(%L, source.%I, (select row_to_json(told) from (select %s) as told)) from %I.%I as source where ...;',
        emit_statement.event_type, given.arguments[2], told.columns, space.nspname, class.relname)
    from pg_trigger as made
    join pg_class as class on class.oid = made.tgrelid and not class.relispartition
    join pg_namespace as space on space.oid = class.relnamespace
    cross join webhook_delivery.trigger_arguments(made.tgargs, made.tgnargs) as given (arguments)
    cross join lateral (
        select string_agg(format('source.%I', attribute.attname), ', ' order by attribute.attnum) as columns
        from pg_attribute as attribute
        where attribute.attrelid = made.tgrelid and attribute.attnum > 0 and not attribute.attisdropped
            and attribute.attname <> all (given.arguments[3:])
    ) as told
    where made.tgfoid = 'webhook_delivery.row_event'::regproc and given.arguments[1] = emit_statement.event_type
    order by made.oid
    limit 1
    $$;

comment on function webhook_delivery.emit_statement(text) is
    'Returns the statement that emits an event of row_event() for existing rows, to be completed with a condition; null for other events';

create function webhook_delivery.backfill(event_type text, row_ids uuid[], schema text default 'public') returns bigint
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    statement constant text := webhook_delivery.emit_statement(event_type);
begin
    if statement is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('backfill() does not support event type %s of webhook_delivery.row_event()', event_type),
            hint = format('Emit the events with: %s', statement);
    end if;
    return webhook_delivery.backfill_rows(event_type, row_ids, schema);
end
$$;

comment on function webhook_delivery.backfill(text, uuid[], text) is
    'Sends this event of the catalogue for each of these rows (keys of the table whose changes make it) of the schema''s tables, with the data that they have now: for rows older than the endpoint or the triggers. Returns the number of events written: none for rows that do not exist or that no endpoint subscribes to. Raises 22023 for an unknown event type, 3F000 for an unknown schema, and 0A000 for an event of row_event(), with the statement of emit_statement() as HINT; an event that cannot be built ends the statement. Grant EXECUTE to the roles that may speak for every auction';
