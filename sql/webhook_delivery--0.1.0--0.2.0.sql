-- From 0.1.0 to 0.2.0: what changes in the tables, then the functions and views as they are in 0.2.0, then who may use what is new.
-- Takes the exclusive lock of events' neighbours (queue, attempts) for some milliseconds, and writes no row but the endpoints. Frozen with
-- the release.

set local search_path = pg_catalog, pg_temp;
-- What is created and called here means the same whatever the server's settings are; these end with the script. Its own text is parsed
-- before they hold, and so has no backslash in a literal.
set local standard_conforming_strings = on;
set local transform_null_equals = off;
set local array_nulls = on;
-- Views, defaults and constraints keep an interval as it is read here.
set local intervalstyle = postgres;
-- Functions compare the names of types.
set local quote_all_identifiers = off;
-- Rows are locked and deleted by their place, which not every kind of table has.
set local default_table_access_method = heap;

-- What there was: privileges on that stay as they are.
select pg_catalog.set_config('webhook_update.members', (
    select string_agg(member.objid::text, ',')
    from pg_catalog.pg_depend as member
    join pg_catalog.pg_extension as extension
        on member.refclassid = 'pg_extension'::regclass and member.refobjid = extension.oid and member.deptype = 'e'
    where extension.extname = 'webhook_delivery'), true);

drop view webhook_delivery.status;
drop function webhook_delivery.worker_report();
drop function webhook_delivery.pause();
drop function webhook_delivery.resume();
drop function webhook_delivery.create_partition(name, name, date);
drop function webhook_delivery.revoke_from_others(regclass);

-- Not valid: the rows that are there keep it, and to look through all of them would hold up everybody. No table whose partitions are
-- dumped may have such a constraint: pg_dump brings it too late for them to be attached.
alter table webhook_delivery.queue
    drop constraint attempts_is_not_negative,
    add column earlier_attempts smallint not null default 0,
    add constraint earlier_attempts_are_among_the_attempts check (earlier_attempts between 0 and attempts) not valid;
alter table webhook_delivery.attempts
    add column lookup_ms integer,
    add column connect_ms integer,
    add column tls_ms integer,
    add column first_byte_ms integer,
    add column address inet;
alter table webhook_delivery.homes add column pause_reason text;

-- Dead letters of row_event() keep the data of their events; the columns take the places of those that told how to make it.
alter table webhook_delivery.capture_errors
    alter auction_column type uuid[] using null,
    alter left_out type json[] using null;
alter table webhook_delivery.capture_errors rename auction_column to auction_ids;
alter table webhook_delivery.capture_errors rename left_out to data;
comment on column webhook_delivery.capture_errors.row_ids is 'Keys of the rows whose event it was; empty where the trigger could not read them, and null within it of a row of row_event() without a key';
comment on column webhook_delivery.capture_errors.previous_rows is 'The rows as they were before the transaction, where the event carries that; JSON null where there was none, null where it could not be kept';
comment on column webhook_delivery.capture_errors.table_name is 'Of row_event(): the table';
comment on column webhook_delivery.capture_errors.auction_ids is 'Of row_event(): the auction of each event; null for other events, whose rows are read again';
comment on column webhook_delivery.capture_errors.data is 'Of row_event(): the data of each event; null where it could not be kept';
alter table webhook_delivery.payloads add column previous_columns name[] not null default '{}';
comment on column webhook_delivery.payloads.previous_columns is 'Columns of the row as it was before the transaction that the query reads: previous has no others, so that what the event does not carry cannot keep it from being built';
update webhook_delivery.payloads as payload set previous_columns = given.columns
from (values
    ('channel.archived', '{archived_at}'::name[]),
    ('message.edited', '{content}'),
    ('message.deleted', '{deleted_at}'),
    ('problem.status_changed', '{status}'),
    ('problem.assigned', '{assigned_to}'),
    ('problem.action_completed', '{completed_at}'),
    ('member.role_changed', '{role}'),
    ('member.removed', '{id,auction_id,user_id,role,invited_by,joined_at}')
) as given (event_type, columns)
where payload.event_type = given.event_type;

CREATE  FUNCTION webhook_delivery."note_move"()
	RETURNS TRIGGER
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'note_move_wrapper';
comment on function webhook_delivery.emit(text, uuid, json) is 'Sends an event of your own to the endpoints of the auction that want it, if the transaction commits. Gives back the event''s id, null when no endpoint wants it. It is written with the commit: where that fails, on a full disk (53100), so does the transaction. It is the only call that can end a commit. Grant EXECUTE to the roles that may speak for every auction';
comment on function webhook_delivery.note_move() is 'Trigger for AFTER INSERT OR DELETE ... FOR EACH ROW of a partitioned table: a row that moves to another partition is an update, whose events the triggers for an update make, and neither deleted nor created';

create or replace function webhook_delivery.set_payload_function(event_type text, function regprocedure, for_table regclass default null)
            returns void language c volatile as 'MODULE_PATHNAME', 'set_payload_function_wrapper';

create or replace function webhook_delivery.check_attached_triggers() returns event_trigger
            language c volatile as 'MODULE_PATHNAME', 'check_attached_triggers_wrapper';

drop function webhook_delivery.caller();

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
    'The first of these roles that has not the rights of that role; null where all have them';

create function webhook_delivery.set_payload_function_for(callers oid[], event_type text, function regprocedure, for_table regclass)
    returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    -- Names of types are compared.
    set quote_all_identifiers = off
    as $$
declare
    target constant regclass := coalesce(for_table, (
        select to_regclass(format('%I.%I', known.schema_name, known.table_name))
        from webhook_delivery.payload_functions as known
        where known.event_type = set_payload_function_for.event_type and function is null), (
        select to_regclass(format('public.%I', payload.source_table))
        from webhook_delivery.payloads as payload
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
            hint = 'Make it known with webhook_delivery.register_event_type() first.';
    elsif target is null then
        raise exception using errcode = 'undefined_table',
            message = format('it is not known which table %s is about', event_type),
            hint = 'Name it: set_payload_function(event_type, function, for_table => ''schema.table'').';
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
            from webhook_delivery.payloads as payload
            where payload.event_type = set_payload_function_for.event_type
            union all
            select attached.tgrelid
            from pg_trigger as attached
            where attached.tgfoid = 'webhook_delivery.note_change'::regproc
                and (webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs))[1] = set_payload_function_for.event_type)
    order by class.oid <> target, class.oid
    limit 1;
    if others is not null then
        raise exception using errcode = 'insufficient_privilege',
            message = format('%s is not an owner of %s', webhook_delivery.first_without(callers, (select relowner from pg_class where oid = others)), others),
            hint = 'A payload function speaks for all tables whose changes make the event: who sets it owns them all.';
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
            hint = 'It takes the keys of rows, uuid[], or these and the rows as they were before the transaction, uuid[] and json[].';
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
            message = format('the owner of %s has not the rights of %s, the owner of %s, with which it would run', function, relation.owner, target),
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
    'What set_payload_function() does for a call of these roles, each of which must own the tables';

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
    -- Our functions write to our tables with the rights of our owner, and a trigger that another role had put there would run with them.
    if exists (
        select from pg_roles as caller, pg_namespace as private
        where private.nspname = 'webhook_delivery' and caller.oid = any (callers)
            -- To bypass row-level security is less than what the trigger would run with.
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
                message = format('triggers on %s are created only with the rights of the owner of the extension', own),
                hint = 'To act on what happens to endpoints, subscribe to webhook.* events, or have a trigger on a table of your own.';
        end if;
    end if;
    for attached in
        select made.tgfoid, made.tgtype, made.tgnargs, made.tgargs, made.tgrelid, class.relowner, class.relkind, proc.proname
        from pg_event_trigger_ddl_commands() as command
        join pg_trigger as made on made.oid = command.objid
        join pg_class as class on class.oid = made.tgrelid
        join pg_proc as proc on proc.oid = made.tgfoid
        where command.classid = 'pg_trigger'::regclass
            and made.tgfoid in ('webhook_delivery.row_event'::regproc, 'webhook_delivery.note_change'::regproc, 'webhook_delivery.note_move'::regproc)
    loop
        if webhook_delivery.first_without(callers, attached.relowner) is not null then
            raise exception using errcode = 'insufficient_privilege',
                message = format('%s is not an owner of %s', webhook_delivery.first_without(callers, attached.relowner), attached.tgrelid::regclass),
                hint = 'What is told of a table''s rows is the decision of its owner.';
        end if;
        given := webhook_delivery.trigger_arguments(attached.tgargs, attached.tgnargs);
        problem := case
            -- ROW, and neither BEFORE nor INSTEAD: see pg_trigger.h.
            when attached.tgtype & 1 = 0 or attached.tgtype & 66 <> 0 then 'it is for AFTER ... FOR EACH ROW'
            when attached.proname = 'note_move' then null
            when attached.tgnargs < 2 then case attached.proname
                when 'row_event' then 'its arguments are an event type, the column of the auction, and columns to leave out'
                else 'its arguments are an event type, a key column and up to five more' end
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
                    then 'the column previous has the name of the field that tells what was before: leave it out' end)
            else (
                select string_agg(nullif(webhook_delivery.key_problem(attached.tgrelid, column_name), ''), '; ')
                from unnest(given[2:4]) as column_name
                where column_name <> '')
        end;
        if problem is not null then
            raise exception using errcode = 'invalid_parameter_value',
                message = format('webhook_delivery.%s() cannot be attached so: %s', attached.proname, problem),
                hint = case attached.proname
                    when 'note_move' then 'create trigger ... after insert or delete on ... for each row execute function webhook_delivery.note_move()'
                    when 'row_event'
                    then 'create trigger ... after insert or update on ... for each row execute function webhook_delivery.row_event(''order.created'', ''auction_id'')'
                    else 'create trigger ... after insert on ... for each row execute function webhook_delivery.note_change(''submission.created'', ''id'', ''auction_id'')' end;
        end if;
        continue when attached.proname = 'note_move';
        -- No error: the trigger that is missing may be created next, as pg_restore does.
        if attached.relkind = 'p' and not exists (
            select from pg_trigger as moved
            where moved.tgrelid = attached.tgrelid and moved.tgfoid = 'webhook_delivery.note_move'::regproc)
        then
            raise warning using
                message = format('a row of %s that moves to another partition may be reported as deleted and created', attached.tgrelid::regclass),
                hint = format('create trigger webhook_delivery_moved after insert or delete on %s for each row execute function webhook_delivery.note_move()', attached.tgrelid::regclass);
        end if;
        -- No error: pg_restore --schema-only brings the triggers and not the catalogue.
        if not exists (select from public.webhook_event_types as known where known.event_type = given[1]) then
            raise warning using errcode = 'invalid_parameter_value', message = format('unknown event type: %s', given[1]),
                hint = 'Make it known with webhook_delivery.register_event_type().';
        end if;
    end loop;
end
$$;

comment on function webhook_delivery.check_attached_triggers_for(oid[]) is
    'What check_attached_triggers() does for a statement of these roles';

comment on function webhook_delivery.set_payload_function(text, regprocedure, regclass) is
    'Lets a function of the application give the data of an event: f(uuid[]) or f(uuid[], json[]) returns table (id uuid, auction_id uuid, data json), called with the rights of the owner of the table. Set by who owns all tables whose changes make the event. Null takes it away again. for_table: the table whose rows the event is about, where it is not the built-in one';
comment on function webhook_delivery.check_attached_triggers() is
    'Event trigger: refuses any trigger on a table of the extension to roles without the rights of its owner (42501), and row_event(), note_change() and note_move() on a table that the role does not own (42501), or with arguments that cannot be meant (22023)';
comment on event trigger webhook_delivery_check_attached_triggers is
    'Looks at triggers when they are created: those on tables of the extension, and those of row_event(), note_change() and note_move()';

create or replace function webhook_delivery.install_triggers(
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
    unsuitable text;
    obstacle text;
begin
    if to_regnamespace(quote_ident(schema)) is null then
        raise exception using errcode = 'invalid_schema_name', message = format('schema %I does not exist', schema),
            hint = 'Name the schema of the application''s tables; without an argument it is public.';
    end if;
    for needed in
        select *, exists (
            select from webhook_delivery.payloads as payload
            join webhook_delivery.watched_changes as watched on watched.event_type = payload.event_type
            where payload.source_table = needed_table.source_table and watched.table_name = needed_table.table_name) as is_watched
        from webhook_delivery.needed_tables as needed_table
        order by source_table, needed_table.table_name <> source_table, needed_table.table_name
    loop
        table_name := needed.table_name;
        trigger_name := null;
        event_type := null;
        detail := null;
        target := to_regclass(format('%I.%I', schema, needed.table_name));
        unsuitable := webhook_delivery.unsuitable_columns(target, needed.columns);
        obstacle := webhook_delivery.reading_obstacle(target, to_regclass(format('%I.%I', schema, needed.source_table)));
        if target is null then
            result := 'missing';
            detail := format('There is no table %I.%I.', schema, needed.table_name);
        elsif unsuitable <> '' then
            result := 'unsuitable';
            detail := format('%I.%I: %s.', schema, needed.table_name, unsuitable);
        elsif obstacle is not null then
            result := 'unreadable';
            detail := format('%I.%I: %s.', schema, needed.table_name, obstacle);
        elsif not needed.is_watched then
            result := 'found';
            detail := format('Read for events of %I.%I, not watched.', schema, needed.source_table);
        end if;
        if result is not null then
            return next;
            result := null;
            continue;
        end if;
        -- Of a partitioned table the server reports a row that moves as deleted and inserted.
        if (select relkind from pg_class where oid = target) = 'p' then
            trigger_name := 'webhook_delivery_moved';
            if exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
                result := 'already installed';
            else
                execute format('create trigger %I after insert or delete on %s for each row execute function webhook_delivery.note_move()',
                    trigger_name, target);
                execute format('alter trigger %I on %s depends on extension webhook_delivery', trigger_name, target);
                result := 'installed';
            end if;
            detail := 'A row that moves to another partition is changed, not created.';
            return next;
            result := null;
            detail := null;
        end if;
        for change in
            select watched.* from webhook_delivery.watched_changes as watched
            join webhook_delivery.payloads as payload on payload.event_type = watched.event_type
            where watched.table_name = needed.table_name and payload.source_table = needed.source_table
            order by watched.event_type, array_position('{insert,update,delete}', watched.operation)
        loop
            event_type := change.event_type;
            trigger_name := format('webhook_delivery_%s_%s', replace(change.event_type, '.', '_'), change.operation);
            if exists (select from pg_trigger where tgrelid = target and tgname = install_triggers.trigger_name) then
                result := 'already installed';
            else
                execute format(
                    'create trigger %I after %s on %s for each row %s execute function webhook_delivery.note_change(%L, %L, %L, %L, %L, %L, %L)',
                    trigger_name, change.operation, target,
                    -- Compares the stored bytes: "is distinct from" needs an equality, which json, point and xml do not have.
                    case change.operation when 'update' then 'when (old.* operator(pg_catalog.*<>) new.*)' else '' end,
                    change.event_type, change.key_column, coalesce(change.auction_column, ''), coalesce(change.about_column, ''),
                    coalesce(change.unless_event, ''), coalesce(change.changed_column, ''), case when change.keeps_previous then 'previous' else '' end);
                -- Without this, DROP EXTENSION would be refused for as long as the application's tables carry our triggers.
                execute format('alter trigger %I on %s depends on extension webhook_delivery', trigger_name, target);
                result := 'installed';
            end if;
            return next;
            result := null;
        end loop;
    end loop;
end
$$;

create or replace function webhook_delivery.remove_triggers(out table_name regclass, out trigger_name name) returns setof record
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    for table_name, trigger_name in
        select attached.tgrelid::regclass, attached.tgname
        from pg_trigger as attached
        where attached.tgfoid in ('webhook_delivery.note_change'::regproc, 'webhook_delivery.note_move'::regproc) and attached.tgparentid = 0
            and starts_with(attached.tgname, 'webhook_delivery_')
        order by attached.tgrelid::regclass::text, attached.tgname
    loop
        execute format('drop trigger %I on %s', trigger_name, table_name);
        return next;
    end loop;
end
$$;



-- What PostgREST sends as it is, and not as JSON.
create domain webhook_delivery."text/html" as text;

comment on domain webhook_delivery."text/html" is 'A page: PostgREST answers with this media type where a function returns it';

CREATE  FUNCTION webhook_delivery."examine"(
	"endpoint_id" uuid 
) RETURNS TABLE (
	"addresses" TEXT,  
	"problem" TEXT,  
	"secret_form" TEXT,  
	"previous_secret_until" timestamp with time zone,  
	"state" TEXT,  
	"is_paused" bool,  
	"without_trigger" TEXT[]  
)
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'examine_wrapper';

CREATE  FUNCTION webhook_delivery."expunge"(
	"auction_id" uuid, 
	"row_id" uuid, 
	"containing" TEXT 
) RETURNS bigint 
VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'expunge_wrapper';

CREATE  FUNCTION webhook_delivery."cancel"(
	"delivery_ids" uuid[] 
) RETURNS bigint 
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'cancel_wrapper';

CREATE  FUNCTION webhook_delivery."emit_for"(
	"event_type" TEXT, 
	"row_ids" uuid[], 
	"schema" TEXT DEFAULT 'public' 
) RETURNS bigint 
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'emit_for_wrapper';

create table webhook_delivery.pauses (
    endpoint_id uuid,
    auction_id uuid,
    paused_at timestamptz not null default pg_catalog.clock_timestamp(),
    reason text,
    constraint an_endpoint_or_an_auction_is_paused_once unique nulls not distinct (endpoint_id, auction_id),
    constraint a_pause_is_of_an_endpoint_or_of_an_auction check (num_nonnulls(endpoint_id, auction_id) = 1)
);

alter table webhook_delivery.pauses replica identity full;

comment on table webhook_delivery.pauses is 'Endpoints and auctions to which the operator has stopped sending, by pause()';

comment on column webhook_delivery.pauses.endpoint_id is 'The endpoint';

comment on column webhook_delivery.pauses.auction_id is 'Or the auction, with all its endpoints';

comment on column webhook_delivery.pauses.paused_at is 'Since when';

comment on column webhook_delivery.pauses.reason is 'Why, as the operator said';

-- What the worker asks of the endpoints.
create or replace view webhook_delivery.endpoint_targets as
    select
        endpoint.id,
        endpoint.auction_id,
        endpoint.is_active,
        endpoint.url,
        case
            when stored.previous_until > pg_catalog.now() then array[stored.secret, stored.previous_secret]
            when stored.secret is not null then array[stored.secret]
        end as secrets,
        endpoint.headers,
        endpoint.retry_schedule,
        endpoint.ordered,
        endpoint.max_per_second,
        endpoint.id = any (array(select pause.endpoint_id from webhook_delivery.pauses as pause where pause.endpoint_id is not null))
        or endpoint.auction_id = any (array(
            select pause.auction_id from webhook_delivery.pauses as pause where pause.auction_id is not null)) as is_paused
    from public.webhook_endpoints as endpoint
    left join webhook_delivery.endpoint_secrets as stored on stored.endpoint_id = endpoint.id;

comment on column webhook_delivery.endpoint_targets.is_paused is 'Whether the operator has stopped sending to it or to its auction, tests included';

select pg_catalog.pg_extension_config_dump('webhook_delivery.pauses', '');

-- The hint of a secret is ASCII from now on. The trigger comes first: its lock keeps new endpoints out until all have the new hint.
create or replace trigger webhook_endpoint_before_insert before insert on public.webhook_endpoints
    for each row
    when (not coalesce(new.secret like '...____' and pg_catalog.has_schema_privilege('webhook_delivery', 'create'), false))
    execute function webhook_delivery.endpoint_before_write();

create or replace function webhook_delivery.secret_hint(secret text) returns text
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select '...' || pg_catalog.right(secret, 4) $$;

-- Without the triggers, for which an endpoint's failures begin anew when it changes.
set local session_replication_role = replica;
update public.webhook_endpoints set secret = webhook_delivery.secret_hint(secret) where secret is not null;
set local session_replication_role = origin;

comment on column public.webhook_endpoints.secret is
    'Write: the signing secret, 16 to 256 characters. Left out, one is generated, and INSERT ... RETURNING generated_secret(webhook_endpoints) gives it this once. Read: a hint, its last four characters';

comment on column public.webhook_endpoints.headers is
    'Headers sent beside ours, names and values as text: {"Authorization": "Bearer ..."}. At most 20, values of at most 1,000 characters of ASCII. Whoever sees the endpoint sees them';

comment on function public.generated_secret(public.webhook_endpoints) is
    'INSERT ... RETURNING generated_secret(webhook_endpoints): the secret that this statement has generated for the endpoint, null at any other time. It is in no row, so nobody else reads it';

-- No backslash in a literal: what that means depends on standard_conforming_strings.
alter table public.webhook_event_types
    drop constraint event_type_is_family_dot_what_happened,
    add constraint event_type_is_family_dot_what_happened check (event_type ~ '^[a-z][a-z0-9_]{0,62}[.][a-z][a-z0-9_]{0,62}$');

create or replace function webhook_delivery.register_event_type(name text, description text, schema json, example json) returns void
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if name is null or description is null or schema is null or example is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = 'register_event_type() needs name, description, schema and example',
            hint = 'A schema that allows everything is ''true''; webhook_delivery.schema_of() makes one of a shape.';
    elsif name !~ '^[a-z][a-z0-9_]{0,62}[.][a-z][a-z0-9_]{0,62}$' then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('%s cannot be the name of an event type', quote_literal(name)),
            hint = 'Use family.what_happened, in lower case: order.created.';
    elsif name like 'webhook.%' then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'the family webhook is that of the extension''s own operational events',
            hint = 'Choose another family.';
    elsif json_typeof(schema) not in ('object', 'boolean') then
        raise exception using errcode = 'invalid_parameter_value', message = 'a JSON Schema is an object or a boolean',
            hint = 'A schema that allows everything is ''true''; webhook_delivery.schema_of() makes one of a shape.';
    end if;
    insert into public.webhook_event_types as known (event_type, description, schema, example)
    values (name, register_event_type.description, register_event_type.schema, register_event_type.example)
    on conflict (event_type) do update
        set description = excluded.description, schema = excluded.schema, example = excluded.example
        where not known.is_builtin;
    if not found then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('%s is an event type of the extension''s own', name),
            hint = 'Choose another name, or change how its data is read with webhook_delivery.set_payload_function().';
    end if;
end
$$;

create or replace function webhook_delivery.returned_columns(function regprocedure) returns text[]
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


create or replace function webhook_delivery.trigger_arguments(arguments bytea, number integer) returns text[]
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    -- Each ends with a zero byte. Two hexadecimal digits and a space for a byte, because a text has no zeros.
    select (array_agg(convert_from(decode(part.bytes, 'hex'), 'UTF8') order by part.number))[1:trigger_arguments.number]
    from unnest(string_to_array(regexp_replace(encode(arguments, 'hex'), '(..)', chr(92) || '1 ', 'g'), '00 ')) with ordinality as part (bytes, number)
    $$;



comment on function webhook_delivery.row_event() is 'Trigger for AFTER ... FOR EACH ROW: the row is an event when the transaction commits. Arguments: event type; column of the auction; columns to leave out. The data is the row as JSON (of a deleted one what it was); of an update with previous, what the columns that changed were before. Nothing where none did';

create or replace function webhook_delivery.endpoint_after_write() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    is_unknown constant boolean := webhook_delivery.stashed_is_unknown(new.id);
    given constant text := webhook_delivery.take_stashed_secret(new.id);
    keep_old_for constant interval := make_interval(secs => webhook_delivery.rotation(new.id));
begin
    if given is not null then
        -- Whoever replaces a secret by another of his own may do so because somebody else knows the old one.
        insert into webhook_delivery.endpoint_secrets as stored (endpoint_id, secret) values (new.id, given)
        on conflict (endpoint_id) do update set
            secret = excluded.secret,
            previous_secret = case when keep_old_for > interval '0' then stored.secret end,
            previous_until = case when keep_old_for > interval '0' then now() + keep_old_for end;
        if tg_op = 'INSERT' then
            -- Here, where row-level security has had its say: nobody is to learn how many another auction has.
            perform webhook_delivery.check_number_of_endpoints(new.auction_id);
        end if;
        if is_unknown then
            raise notice using
                message = format('endpoint %s has a generated secret that nobody has seen', new.id),
                hint = 'Insert with RETURNING generated_secret(webhook_endpoints), or set a secret of your own with UPDATE.';
        end if;
    end if;
    if tg_op = 'UPDATE' and new.is_active <> old.is_active then
        -- What waited for this endpoint lies behind the point that the worker has read to; or what it has read is not to be sent.
        perform webhook_delivery.wake('-infinity');
    end if;
    return null;
end
$$;

comment on function webhook_delivery.endpoint_after_write() is
    'Puts the secret into the private schema, refuses one endpoint too many, and wakes the worker when one is enabled or disabled';

create or replace function webhook_delivery.endpoints_after_delete() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tg_op = 'TRUNCATE' then
        delete from webhook_delivery.endpoint_secrets;
        delete from webhook_delivery.recent_tests;
        delete from webhook_delivery.pauses where endpoint_id is not null;
        return null;
    end if;
    delete from webhook_delivery.recent_tests as made using gone where made.endpoint_id = gone.id;
    delete from webhook_delivery.pauses as pause using gone where pause.endpoint_id = gone.id;
    delete from webhook_delivery.endpoint_secrets as stored
    using gone
    where stored.endpoint_id = gone.id
        -- The same statement may have created it again.
        and not exists (select from public.webhook_endpoints as endpoint where endpoint.id = gone.id);
    return null;
end
$$;

comment on function webhook_delivery.endpoints_after_delete() is 'Deletes what is kept of deleted endpoints: secrets, pauses, and how often they were tested';

comment on column webhook_delivery.queue.due_at is 'When the next attempt may start; -infinity: it is cancelled, and the worker is to end it. The only index begins with it: a million retries of tomorrow cost today nothing';

comment on column webhook_delivery.queue.earlier_attempts is 'Of these, those made before it was sent again: its schedule has begun anew after them';

comment on table webhook_delivery.attempts is
    'Every request made. A row is written once; only to send a delivery again and to expunge data changes one. The row that ended a delivery has the status success or failed. Partitioned by that, and then by the day on which the delivery was queued';

comment on column webhook_delivery.attempts.delivery_status is 'What became of the delivery by this attempt: retrying (also where it was sent again after its end), success or failed';

comment on column webhook_delivery.attempts.error_message is 'Why the attempt failed, for the customer to read; sent again: of one that had succeeded, whose delivery was sent again';

comment on column webhook_delivery.attempts.lookup_ms is 'Of the time, milliseconds for the look-up of the name; null where none was made, as for the following two: over an open connection';

comment on column webhook_delivery.attempts.connect_ms is 'For the TCP connection';

comment on column webhook_delivery.attempts.tls_ms is 'For the TLS handshake';

comment on column webhook_delivery.attempts.first_byte_ms is 'From the start of the request until the header of the response was there; null where none came';

comment on column webhook_delivery.attempts.address is 'Who was called; null where the name had no address, or none that is allowed';

comment on column webhook_delivery.homes.pause_reason is 'Why, as whoever called it said';

create or replace view webhook_delivery.standing as
    select
        case
            when exists (
                select from webhook_delivery.homes as other
                where (other.system_identifier, other.database_oid) <> (here.system_identifier, here.database_oid))
                then 'copied'
            when home.paused_at is not null then 'paused'
            when home.since is not null then 'sending'
            -- Rows without a home: a dump is just being restored, or was restored in part.
            when exists (select from webhook_delivery.endpoint_secrets) then 'copied'
            else 'unused'
        end as standing,
        home.paused_at,
        home.pause_reason
    from (select webhook_delivery.system_identifier(), webhook_delivery.database_oid()) as here (system_identifier, database_oid)
    left join webhook_delivery.homes as home using (system_identifier, database_oid);

comment on column webhook_delivery.standing.pause_reason is 'Why';

create function webhook_delivery.revoke_from_others(only_relation regclass default null, but_not oid[] default '{}') returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    opened record;
begin
    for opened in
        with member as (
            select classid, objid from pg_depend
            where deptype = 'e' and refclassid = 'pg_extension'::regclass
                and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')
                and objid <> all (but_not)
        ), object as (
            select 'schema' as kind, oid::regnamespace::text as name, nspacl as acl, nspowner as owner
            from pg_namespace
            where nspname = 'webhook_delivery' and only_relation is null
            union all
            select 'table', oid::regclass::text, relacl, relowner
            from pg_class
            where oid = only_relation
                or only_relation is null and oid in (select objid from member where classid = 'pg_class'::regclass)
            union all
            -- A routine without privileges of its own is everybody's.
            select 'routine', oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner
            from pg_proc
            where only_relation is null and oid in (select objid from member where classid = 'pg_proc'::regclass)
        )
        select distinct object.kind, object.name,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee
        from object, aclexplode(object.acl) as acl
        where acl.grantee <> object.owner
    loop
        execute format('revoke all on %s %s from %s', opened.kind, opened.name, opened.grantee);
    end loop;
end
$$;

comment on function webhook_delivery.revoke_from_others(regclass, oid[]) is
    'Takes back what ALTER DEFAULT PRIVILEGES gave to others: on everything of the extension but these objects, or on one relation';

create or replace function webhook_delivery.tenant_routines() returns oid[]
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select array_agg(oid) from pg_catalog.pg_proc
    where pronamespace = 'webhook_delivery'::regnamespace and proname in (
            'administered_auctions', 'advice', 'auctions_of_member', 'begin_rotation', 'cancel', 'check_endpoint_events', 'examine', 'expunge',
            'is_operator', 'iso_time', 'named_auctions', 'normal_url', 'queue_test',
            'refuse_unknown_delivery', 'refuse_unknown_endpoint', 'replay', 'request_of', 'resend', 'show_generated_secret', 'uuid_v7',
            'uuid_v7_time', 'visible_auction')
        or pronamespace = 'public'::regnamespace
            and oid in (
                select member.objid from pg_catalog.pg_depend as member
                join pg_catalog.pg_extension as extension
                    on member.refclassid = 'pg_extension'::regclass and member.refobjid = extension.oid and member.deptype = 'e'
                where member.classid = 'pg_proc'::regclass and extension.extname = 'webhook_delivery')
    $$;

comment on function webhook_delivery.tenant_routines() is
    'The functions that a tenant''s own statements call: all that are in public, and of the private schema those in row-level security, views, defaults and what runs in his name';

-- Which partitions are there, which are needed, and which are no longer?

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
    'The partitions of a table by time (events, attempts_ended, attempts_retried), and which time each is for; not the default one';

create function webhook_delivery.create_partition(parent name, key name, day date, days integer default 1) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- Where and what a partition is does not depend on the session that makes it.
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
    -- A day that has begun has rows to be moved. An INSERT that has just chosen the default partition for one more would
    -- fail, and a query that was planned without the new partition would miss what has moved: both wait at the parent.
    execute format('lock table only webhook_delivery.%I in %s mode', parent,
        case when lower_bound <= webhook_delivery.uuid_v7() then 'access exclusive' else 'share update exclusive' end);
    execute format('lock table webhook_delivery.%I in access exclusive mode', parent || '_default');
    -- Filled before it is attached: rows that were quicker than the partition lie in the default one.
    execute format('create table webhook_delivery.%I (like webhook_delivery.%I including all)', partition, parent || '_default');
    execute format(
        'with moved as (delete from webhook_delivery.%1$I where %2$I >= %3$L and %2$I < %4$L returning *)
         insert into webhook_delivery.%5$I select * from moved',
        parent || '_default', key, lower_bound, upper_bound, partition);
    execute format('alter table webhook_delivery.%I attach partition webhook_delivery.%I for values from (%L) to (%L)',
        parent, partition, lower_bound, upper_bound);
    -- Not copied with the default partition's other properties.
    execute format('alter table webhook_delivery.%I enable row level security', partition);
    perform webhook_delivery.revoke_from_others(format('webhook_delivery.%I', partition)::regclass);
    return true;
end
$$;

comment on function webhook_delivery.create_partition(name, name, date, integer) is
    'Makes the partition for so many days from this one on, unless there is one that begins then; says whether it did. Locks the default partition';

create or replace function webhook_delivery.create_partitions(days_ahead integer default 3) returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    -- While we wait for a backup or a long transaction, everybody who comes after us waits too.
    set lock_timeout = '50ms'
    as $$
declare
    today constant date := (now() at time zone 'UTC')::date;
    retention constant interval := current_setting('webhook_delivery.retention')::interval;
    -- Some thirty for the whole of the retention, however long: a page of the history opens all of them.
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
        -- What came while there was no worker to make them is sorted in, of the last week. Partitions may lie far ahead, from when
        -- the clock did.
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
    -- Nothing is lost: the default partition takes what has no other.
    return false;
end
$$;

comment on function webhook_delivery.create_partitions(integer) is
    'Makes the partitions of events and attempts that are missing, for today and the days ahead: of a day each, or of more days where webhook_delivery.retention is longer than thirty. False where someone, a backup perhaps, uses the tables: try again later. The worker, who owns no table, calls it';

create function webhook_delivery.drop_expired(out dropped name, out is_locked boolean)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    -- Whoever has a table in use is not waited for: all who came after us would wait with us.
    set lock_timeout = '20ms'
    as $$
declare
    retention constant interval := current_setting('webhook_delivery.retention')::interval;
    before constant timestamptz := now() - retention;
begin
    is_locked := false;
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
    -- What had no partition: few rows, some of them the ends of what has outlived its event.
    delete from webhook_delivery.events_default where ctid = any (array(
        select ctid from webhook_delivery.events_default where id < webhook_delivery.uuid_v7_floor(before) limit 10000));
    delete from webhook_delivery.attempts_ended_default where ctid = any (array(
        select ctid from webhook_delivery.attempts_ended_default where attempted_at < before limit 10000));
    delete from webhook_delivery.attempts_retried_default where ctid = any (array(
        select ctid from webhook_delivery.attempts_retried_default where attempted_at < before limit 10000));
exception when lock_not_available then
    dropped := null;
    is_locked := true;
end
$$;

comment on function webhook_delivery.drop_expired() is
    'Drops the oldest partition of events or attempts whose whole time lies before webhook_delivery.retention, and gives back its name; null where there is none any more, or where is_locked says that somebody uses it: try again later. For the worker';

CREATE  FUNCTION webhook_delivery."replay"(
	"endpoint_id" uuid, 
	"since" timestamp with time zone, 
	"until" timestamp with time zone, 
	"events" TEXT[] 
) RETURNS bigint 
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'replay_wrapper';

CREATE  FUNCTION webhook_delivery."request_of"(
	"delivery_id" uuid 
) RETURNS TABLE (
	"url" TEXT,  
	"headers" jsonb,  
	"body" TEXT  
)
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'request_of_wrapper';

-- What became of each delivery?

-- Two selects from one table each, without a condition: so the planner reads a page from the indexes, whatever else there is.
-- Which rows somebody sees, row-level security says.
create or replace view public.webhook_deliveries with (security_invoker) as
    select
        delivery_id as id,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        case when attempts = 0 then 'pending' else 'retrying' end as status,
        attempts::integer as attempts,
        response_status_code,
        response_time_ms,
        error_message,
        is_test,
        webhook_delivery.uuid_v7_time(delivery_id) as created_at,
        attempted_at as last_attempt_at,
        -- -infinity is not for a receiver's programs to read.
        nullif(coalesce(not_before, due_at), '-infinity') as next_attempt_at,
        null::timestamptz as completed_at
    from webhook_delivery.queue
    union all
    select
        delivery_id,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        delivery_status,
        -- The row that ends a delivery whose endpoint or event was gone stands for no request.
        attempt - case when response_time_ms is null then 1 else 0 end,
        response_status_code,
        response_time_ms,
        error_message,
        is_test,
        created_at,
        attempted_at,
        null,
        attempted_at + coalesce(response_time_ms, 0) * interval '1 millisecond'
    from webhook_delivery.attempts_ended;

comment on column public.webhook_deliveries.next_attempt_at is 'When the next attempt is due; null once the delivery has ended or is cancelled';

create or replace view public.webhook_delivery_attempts with (security_invoker) as
    select
        delivery_id,
        attempt::integer as attempt,
        auction_id,
        endpoint_id,
        event_id,
        event_type,
        -- By the response: one that succeeded and was sent again says so in the log's error_message.
        case when response_status_code between 200 and 299 then 'success' else 'failed' end as status,
        response_status_code,
        response_time_ms,
        case when response_status_code between 200 and 299 then null else error_message end as error_message,
        response_excerpt,
        is_test,
        attempted_at,
        next_attempt_at
    from webhook_delivery.attempts
    where response_time_ms is not null;

create function webhook_delivery.refuse_unknown_endpoint(endpoint_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- The same words for both: nobody learns that another's endpoint exists.
    raise exception using
        errcode = 'PT404',
        message = format('there is no webhook endpoint %s', endpoint_id),
        hint = 'select id, url from public.webhook_endpoints shows the endpoints that you see.';
end
$$;

comment on function webhook_delivery.refuse_unknown_endpoint(uuid) is 'Says (PT404) that the caller sees no such endpoint';

-- Runs as the caller: whether he sees the endpoint is asked in his name, and only the queueing is done in ours.
create or replace function public.test_webhook(
    endpoint_id uuid, event_type text, out delivery_id uuid, out status text, out follow text
)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    delivery_id := webhook_delivery.queue_test(endpoint_id, event_type);
    if delivery_id is null and exists (select from public.webhook_event_types as known where known.event_type = test_webhook.event_type) then
        raise exception using
            errcode = 'PT429',
            message = format('the endpoint was tested %s times within a minute, and no more is allowed',
                current_setting('webhook_delivery.tests_per_minute')),
            hint = 'Wait a minute, or have an administrator raise webhook_delivery.tests_per_minute.';
    elsif delivery_id is null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('unknown event type: %s', left(test_webhook.event_type, 100)),
            hint = format('Known event types: %s.',
                (select string_agg(known.event_type, ', ' order by known.event_type) from public.webhook_event_types as known));
    end if;
    status := 'pending';
    follow := format('select * from public.webhook_deliveries where id = %L', delivery_id);
end
$$;

-- How does a customer get a new secret while his receivers still verify with the old one?

-- Runs as the caller: whether he may change the endpoint is asked in his name.
create or replace function public.rotate_webhook_secret(endpoint_id uuid, keep_old_for interval default '24 hours') returns text
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    generated text;
begin
    if keep_old_for is null or keep_old_for not between interval '0' and interval '30 days' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'an old secret is kept for 30 days at most',
            hint = 'Give an interval from 0 to 30 days: keep_old_for => ''24 hours''.';
    end if;
    perform webhook_delivery.begin_rotation(endpoint_id, extract(epoch from keep_old_for)::double precision);
    update public.webhook_endpoints as endpoint set updated_at = now()
    where endpoint.id = rotate_webhook_secret.endpoint_id
    returning webhook_delivery.show_generated_secret(endpoint.id) into generated;
    if not found then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    return generated;
end
$$;

CREATE  FUNCTION webhook_delivery."named_auctions"() RETURNS TABLE (
	"auction_id" uuid,  
	"name" TEXT  
)
STRICT STABLE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'named_auctions_wrapper';

CREATE  FUNCTION webhook_delivery."resend"(
	"delivery_ids" uuid[] 
) RETURNS bigint 
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'resend_wrapper';

-- How is a delivery sent once more, or a time, or the past; and how is one that waits kept back?

create function webhook_delivery.refuse_unknown_delivery(delivery_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    raise exception using
        errcode = 'PT404',
        message = format('there is no webhook delivery %s', delivery_id),
        hint = 'select id, status from public.webhook_deliveries shows the deliveries that you see.';
end
$$;

comment on function webhook_delivery.refuse_unknown_delivery(uuid) is
    'Says (PT404) that the caller sees no such delivery';

-- These run as the caller: what he sees is asked in his name.
create function public.redeliver_webhook(delivery_id uuid, out status text, out follow text)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    delivery record;
begin
    perform webhook_delivery.resend(array[delivery_id]);
    select known.status, known.is_test, known.completed_at, known.next_attempt_at into delivery
    from public.webhook_deliveries as known where known.id = delivery_id;
    if not found then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    elsif delivery.is_test then
        raise exception using
            errcode = 'PT409',
            message = format('webhook delivery %s is a test', delivery_id),
            hint = 'Call test_webhook() again.';
    elsif delivery.completed_at is not null then
        raise exception using
            errcode = 'PT410',
            message = format('webhook delivery %s cannot be sent again: its event or its endpoint is gone', delivery_id),
            hint = 'Events are kept for webhook_delivery.retention. An endpoint of another id gets them with replay_webhooks().';
    elsif delivery.next_attempt_at is null then
        raise exception using
            errcode = 'PT409',
            message = format('webhook delivery %s was cancelled just now', delivery_id),
            hint = 'Try again when it has ended.';
    end if;
    status := delivery.status;
    follow := format('select * from public.webhook_deliveries where id = %L', delivery_id);
end
$$;

comment on function public.redeliver_webhook(uuid) is
    'Sends a delivery again, also one that succeeded: the same webhook_id, the same bytes, a whole schedule of attempts. One that waits for another attempt has it now. Unknown delivery: PT404; its event or endpoint is gone: PT410; a test: PT409';

create function public.recover_webhooks(
    endpoint_id uuid, since timestamptz, until timestamptz default pg_catalog.now(), only_failed boolean default true,
    dry_run boolean default false
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    wanted_status constant text[] := case when only_failed then '{failed}' else '{failed, success}' end::text[];
    number bigint;
    -- One more than a tenant may, so that it is told: of millions not all are gathered.
    at_most constant bigint := case when not webhook_delivery.is_operator() then
        current_setting('webhook_delivery.max_resend')::bigint + 1 end;
begin
    -- A dry run that is null would be none.
    if num_nulls(since, until, only_failed, dry_run) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'since, until, only_failed and dry_run cannot be null',
            hint = 'Leave an argument out to have its default.';
    end if;
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    if dry_run then
        select count(*) into number
        from public.webhook_deliveries as delivery
        where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
            and delivery.status = any (wanted_status) and not delivery.is_test;
    else
        select webhook_delivery.resend(array_agg(found.id)) into number
        from (
            select delivery.id from public.webhook_deliveries as delivery
            where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
                and delivery.status = any (wanted_status) and not delivery.is_test
            limit at_most
        ) as found;
    end if;
    return coalesce(number, 0);
end
$$;

comment on function public.recover_webhooks(uuid, timestamptz, timestamptz, boolean, boolean) is
    'Sends again what an endpoint was to receive from since until before until, by created_at: what failed, or with only_failed => false everything that has ended. Oldest first, webhook_delivery.resend_per_second of it each second, so that new events do not wait behind it. Gives back how many deliveries these are; with dry_run => true nothing more. Unknown endpoint: PT404; more than webhook_delivery.max_resend: 22023; a null: 22004';

create function public.replay_webhooks(
    endpoint_id uuid, since timestamptz, until timestamptz default pg_catalog.now(), events text[] default null
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if num_nulls(since, until) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'since and until cannot be null',
            hint = 'Leave an argument out to have its default.';
    end if;
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    perform webhook_delivery.check_endpoint_events(events);
    if events is null then
        select endpoint.events into strict events
        from public.webhook_endpoints as endpoint where endpoint.id = replay_webhooks.endpoint_id;
    end if;
    return coalesce(webhook_delivery.replay(endpoint_id, since, until, events), 0);
end
$$;

comment on function public.replay_webhooks(uuid, timestamptz, timestamptz, text[]) is
    'Sends an endpoint what has happened from since until before until and it has not had, as new deliveries: events of these types, or of those that it subscribes to. There are the events that some endpoint wanted then, for webhook_delivery.retention. Oldest first and at the pace of recover_webhooks(). Gives back how many. Unknown endpoint: PT404; unknown type, or more than webhook_delivery.max_resend: 22023; a null time: 22004';

create function public.cancel_webhook(delivery_id uuid) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    waits boolean;
begin
    if webhook_delivery.cancel(array[delivery_id]) > 0 then
        return;
    end if;
    select delivery.completed_at is null into waits from public.webhook_deliveries as delivery where delivery.id = delivery_id;
    if waits is null then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    elsif not waits then
        raise exception using
            errcode = 'PT409',
            message = format('webhook delivery %s has ended', delivery_id),
            hint = 'select status, completed_at from public.webhook_deliveries shows how.';
    end if;
end
$$;

comment on function public.cancel_webhook(uuid) is
    'No further attempt of a delivery that waits: it ends as failed, with the error "cancelled". A request that is under way is let end, and may still succeed. Unknown delivery: PT404; one that has ended: PT409';

-- What was sent, and where did its time go?

-- Runs as the caller: what he sees is asked in his name.
create function public.webhook_event(
    delivery_id uuid, out event_type text, out status text, out url text, out headers jsonb, out body text, out verify text,
    out attempts json
)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    select delivery.event_type, delivery.status, request.url, request.headers, request.body
    into event_type, status, url, headers, body
    from public.webhook_deliveries as delivery
    cross join webhook_delivery.request_of(delivery.id) as request
    where delivery.id = webhook_event.delivery_id;
    if not found then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    end if;
    if headers is not null then
        verify := format(
            'X-Webhook-Signature is sha256= and what this prints, with the body as it is, to the byte: printf %%s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" (the whole secret, with whsec_ where it begins so). '
            'webhook-signature covers "%s.%s." and the body; a Standard Webhooks library verifies it.',
            headers ->> 'webhook-id', headers ->> 'webhook-timestamp');
    end if;
    if has_column_privilege('webhook_delivery.attempts', 'address', 'select') then
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_message, log.response_excerpt, log.attempted_at,
                log.next_attempt_at, log.response_time_ms, course.lookup_ms, course.connect_ms, course.tls_ms, course.first_byte_ms,
                host(course.address) as address
            from public.webhook_delivery_attempts as log
            join webhook_delivery.attempts as course on course.delivery_id = log.delivery_id and course.attempt = log.attempt
            where log.delivery_id = webhook_event.delivery_id and course.response_time_ms is not null
        ) as made;
    else
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_message, log.response_excerpt, log.attempted_at,
                log.next_attempt_at, log.response_time_ms
            from public.webhook_delivery_attempts as log
            where log.delivery_id = webhook_event.delivery_id
        ) as made;
    end if;
end
$$;

comment on function public.webhook_event(uuid) is
    'What a delivery sends: URL, headers and body of its last request, by the endpoint''s present URL, headers and secret; how to verify it; and each request made, for operators with the address that was called and where the time went (milliseconds). Null is what is gone: with the endpoint URL and headers, with the event headers and body. Unknown delivery: PT404';

create function webhook_delivery.wait_for_delivery(delivery_id uuid, at_most interval default '30 seconds') returns text
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    deadline constant timestamptz := clock_timestamp() + at_most;
    found_status text;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'a transaction that sees one moment only cannot wait for another',
            hint = 'Use isolation level read committed.';
    end if;
    if exists (
        select from webhook_delivery.queue as waiting
        where waiting.delivery_id = wait_for_delivery.delivery_id
            and waiting.xmin::text::bigint = pg_current_xact_id_if_assigned()::text::bigint % 4294967296)
    then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('webhook delivery %s was queued by this transaction, and is sent when that commits', delivery_id),
            hint = 'Commit, then wait.';
    end if;
    loop
        select delivery.status into found_status from public.webhook_deliveries as delivery where delivery.id = delivery_id;
        if not found then
            perform webhook_delivery.refuse_unknown_delivery(delivery_id);
        end if;
        exit when found_status in ('success', 'failed') or clock_timestamp() >= deadline;
        perform pg_sleep(0.02);
    end loop;
    return found_status;
end
$$;

comment on function webhook_delivery.wait_for_delivery(uuid, interval) is
    'Waits until a delivery has ended, at most so long, and gives back its status: success or failed, or what it then is. For scripts. Unknown delivery: PT404; queued by the same transaction, or in one that is not read committed: 55000';

-- How does a customer's data leave what is kept?

-- Runs as the caller: whether he administers the auction is asked in his name.
create function public.expunge_webhook_data(
    auction_id uuid, row_id uuid default null, containing text default null, everything boolean default false
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    expunged bigint;
begin
    if everything is not true and row_id is null and coalesce(containing, '') = '' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'it is not said whose data is to be deleted',
            hint = 'Give row_id (of a submission, an inspection, a member ...), or containing (an id, an e-mail address), or everything => true.';
    elsif everything and num_nonnulls(row_id, containing) > 0 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'everything is all of the auction, and not that of one row or with some text',
            hint = 'Leave everything out, or row_id and containing.';
    end if;
    expunged := webhook_delivery.expunge(auction_id, row_id, nullif(containing, ''));
    if expunged is null then
        raise exception using
            errcode = 'PT404',
            message = format('there is no auction %s of yours', auction_id),
            hint = 'select webhook_delivery.administered_auctions() shows those that you administer.';
    end if;
    return expunged;
end
$$;

comment on function public.expunge_webhook_data(uuid, uuid, text, boolean) is
    'Deletes the data of an auction''s events, of those about one row, of those with a text in their data (as JSON has it), or everything: from the events and from what receivers have answered. That there were deliveries, when, and how they ended, stays; what waits ends as failed. Gives back how many events these were. An operator''s call deletes what could not be captured and is about the row, or has the text, as well. Nobody says whose data: 22023; not an auction of the caller''s: PT404';

create function public.webhook_admin(apikey text default null) returns webhook_delivery."text/html"
            language c volatile as 'MODULE_PATHNAME', 'webhook_admin_wrapper';

CREATE  FUNCTION webhook_delivery."admin_page"(
	"api_url" TEXT 
) RETURNS TEXT 
STRICT STABLE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'admin_page_wrapper';

CREATE  FUNCTION webhook_delivery."worker_report"() RETURNS TABLE (
	"pid" INT,  
	"requests_in_flight" INT,  
	"deliveries_in_memory" INT,  
	"attempts_to_record" INT,  
	"idle_because" TEXT,  
	"problem" TEXT,  
	"problem_since" timestamp with time zone,  
	"started_at" timestamp with time zone,  
	"delivered" bigint,  
	"failed" bigint,  
	"failed_attempts" bigint,  
	"delivered_in_last_minute" bigint,  
	"failed_attempts_in_last_minute" bigint,  
	"last_failure" TEXT,  
	"last_failure_at" timestamp with time zone  
)
STRICT VOLATILE
LANGUAGE c 
AS 'MODULE_PATHNAME', 'worker_report_wrapper';

-- What does the operator ask and do: does it send, what is in its way, stop it, let it go on?

create function webhook_delivery.pause(reason text default null, endpoint_id uuid default null, auction_id uuid default null)
    returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if num_nonnulls(endpoint_id, auction_id) = 0 then
        insert into webhook_delivery.homes (system_identifier, database_oid, paused_at, pause_reason)
        values (webhook_delivery.system_identifier(), webhook_delivery.database_oid(), clock_timestamp(), pause.reason)
        on conflict (system_identifier, database_oid) do update set
            paused_at = coalesce(homes.paused_at, excluded.paused_at),
            pause_reason = coalesce(excluded.pause_reason, homes.pause_reason);
    else
        if endpoint_id is not null and not exists (
            select from public.webhook_endpoints as endpoint where endpoint.id = pause.endpoint_id)
        then
            perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
        end if;
        insert into webhook_delivery.pauses as known (endpoint_id, auction_id, reason)
        values (pause.endpoint_id, pause.auction_id, pause.reason)
        on conflict on constraint an_endpoint_or_an_auction_is_paused_once do update set
            reason = coalesce(excluded.reason, known.reason);
    end if;
    perform webhook_delivery.wake('-infinity');
end
$$;

comment on function webhook_delivery.pause(text, uuid, uuid) is
    'Stops sending, when the transaction commits, until resume(): to an endpoint, to an auction, or without either from this database. Events are captured and queued as before; requests under way end and are recorded. Tests wait as well. Unknown endpoint: PT404';

create function webhook_delivery.resume(endpoint_id uuid default null, auction_id uuid default null) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if num_nonnulls(endpoint_id, auction_id) = 0 then
        insert into webhook_delivery.homes (system_identifier, database_oid)
        values (webhook_delivery.system_identifier(), webhook_delivery.database_oid())
        on conflict (system_identifier, database_oid) do update set paused_at = null, pause_reason = null;
        delete from webhook_delivery.homes
        where (system_identifier, database_oid) <> (webhook_delivery.system_identifier(), webhook_delivery.database_oid());
    else
        delete from webhook_delivery.pauses as known
        where known.endpoint_id = resume.endpoint_id or known.auction_id = resume.auction_id;
    end if;
    perform webhook_delivery.wake('-infinity');
end
$$;

comment on function webhook_delivery.resume(uuid, uuid) is
    'Sends again, when the transaction commits, to an endpoint or an auction that pause() has stopped; without either from this database: after pause(), or because a copy takes the place of its original. What is queued goes out at once: the copy sends again what the original has sent since';

create function webhook_delivery.queue_depth(out deliveries bigint, out due bigint, out oldest_due_at timestamptz)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    -- Whoever has locked the queue is what one looks for here.
    set lock_timeout = '100ms'
    as $$
begin
    select count(*), count(*) filter (where waiting.is_due), min(waiting.due_at) filter (where waiting.is_due)
    into deliveries, due, oldest_due_at
    from (
        select queue.due_at,
            coalesce(queue.not_before, queue.due_at) <= now() and queue.due_at > '-infinity'
                and (endpoint.is_active or queue.is_test) and endpoint.is_paused is not true as is_due
        from webhook_delivery.queue
        left join webhook_delivery.endpoint_targets as endpoint on endpoint.id = queue.endpoint_id
    ) as waiting;
exception when lock_not_available then
    null;
end
$$;

comment on function webhook_delivery.queue_depth() is
    'How many deliveries are still to be made, how many of them are due and could be sent, and when the oldest of these was due. Nulls where somebody has locked the queue';

create function webhook_delivery.endpoint_backlog() returns table (endpoint_id uuid, deliveries bigint)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '100ms'
    as $$
begin
    return query select queue.endpoint_id, count(*) from webhook_delivery.queue group by queue.endpoint_id;
exception when lock_not_available then
    null;
end
$$;

comment on function webhook_delivery.endpoint_backlog() is
    'How many deliveries to each endpoint are still to be made: no row for one that has none, and none at all where somebody has locked the queue';

create view webhook_delivery.status as
    select
        now.state,
        case now.state
            when 'paused' then here.paused_at
            when 'failing' then worker.problem_since
            when 'no worker' then null
            else worker.started_at
        end as since,
        case now.state
            when 'no worker' then
                format('Add %s to webhook_delivery.databases and reload the configuration; where it is there, see the server''s log.',
                    pg_catalog.current_database())
            when 'paused: a copy' then
                'These rows lived in another database, which may send them too. If this one takes its place: select webhook_delivery.resume().'
            when 'paused' then 'To send again: select webhook_delivery.resume().'
            when 'waiting' then worker.idle_because
            when 'failing' then
                'It is tried again within a minute, and the rest of the work goes on. The server''s log has the details.'
        end as hint,
        here.paused_at,
        here.pause_reason,
        (select count(*) from webhook_delivery.pauses where endpoint_id is not null) as endpoints_paused,
        (select count(*) from webhook_delivery.pauses where auction_id is not null) as auctions_paused,
        worker.pid as worker_pid,
        worker.started_at as worker_started_at,
        worker.requests_in_flight,
        worker.deliveries_in_memory,
        worker.attempts_to_record,
        queued.deliveries as queued,
        queued.due,
        queued.oldest_due_at,
        worker.delivered_in_last_minute as delivered_per_minute,
        worker.failed_attempts_in_last_minute as failed_attempts_per_minute,
        worker.last_failure,
        worker.last_failure_at,
        worker.problem,
        worker.problem_since
    from webhook_delivery.standing as here
    left join webhook_delivery.worker_report() as worker on true
    cross join lateral (
        select case
            when worker.pid is null then 'no worker'
            when here.standing = 'copied' then 'paused: a copy'
            when here.standing = 'paused' then 'paused'
            when worker.idle_because is not null then 'waiting'
            when worker.problem is not null then 'failing'
            else 'sending'
        end as state
    ) as now
    cross join webhook_delivery.queue_depth() as queued;

comment on view webhook_delivery.status is 'Does this database send, and if not, why? One row, for the operator';

comment on column webhook_delivery.status.state is
    'sending; waiting: see hint; failing: see problem; paused: by pause(); paused: a copy; no worker';

comment on column webhook_delivery.status.since is 'Since when the state is that, or the worker is there';

comment on column webhook_delivery.status.hint is 'What to do, null where nothing is to be done';

comment on column webhook_delivery.status.paused_at is 'When pause() was called';

comment on column webhook_delivery.status.pause_reason is 'Why, as whoever called it said';

comment on column webhook_delivery.status.endpoints_paused is 'Endpoints that pause() has stopped by themselves; webhook_delivery.pauses says which and why';

comment on column webhook_delivery.status.auctions_paused is 'Auctions that pause() has stopped';

comment on column webhook_delivery.status.worker_pid is 'The worker''s process, as in pg_stat_activity';

comment on column webhook_delivery.status.worker_started_at is 'Since when there is this worker';

comment on column webhook_delivery.status.requests_in_flight is 'Requests under way';

comment on column webhook_delivery.status.deliveries_in_memory is 'Deliveries taken from the queue that wait for a thread';

comment on column webhook_delivery.status.attempts_to_record is 'Attempts that have ended and are not in the history yet. Many of them: somebody has locked their rows of the queue, or recording fails';

comment on column webhook_delivery.status.queued is 'Deliveries still to be made, those that wait for another attempt and those for a disabled or paused endpoint included; null where somebody has locked the queue';

comment on column webhook_delivery.status.due is 'Of these, those whose time has come and whose endpoint receives';

comment on column webhook_delivery.status.oldest_due_at is 'When the oldest of those was due: how far behind the worker is';

comment on column webhook_delivery.status.delivered_per_minute is 'Deliveries that have ended well in the last minute';

comment on column webhook_delivery.status.failed_attempts_per_minute is 'Requests that have failed in the last minute';

comment on column webhook_delivery.status.last_failure is 'What the last request that failed has failed with, since this worker began';

comment on column webhook_delivery.status.last_failure_at is 'When it was made';

comment on column webhook_delivery.status.problem is 'What of the worker''s work fails, and with which error';

comment on column webhook_delivery.status.problem_since is 'Since when';

-- How does each endpoint do, and why does one not receive?

-- What a tenant may know of these tables is asked by whether he sees the endpoint.
alter table webhook_delivery.endpoint_health enable row level security;

create policy who_sees_the_endpoint on webhook_delivery.endpoint_health for select
    using (endpoint_id in (select endpoint.id from public.webhook_endpoints as endpoint));

comment on policy who_sees_the_endpoint on webhook_delivery.endpoint_health is 'webhook_endpoint_health reads with the rights of whoever asks';

-- Without a policy only the owner and roles that bypass row-level security see a row, also after a grant by mistake.
alter table webhook_delivery.endpoint_secrets enable row level security;
alter table webhook_delivery.recent_tests enable row level security;
alter table webhook_delivery.events enable row level security;
alter table webhook_delivery.events_default enable row level security;
alter table webhook_delivery.attempts_ended_default enable row level security;
alter table webhook_delivery.attempts_retried enable row level security;
alter table webhook_delivery.attempts_retried_default enable row level security;
alter table webhook_delivery.capture_errors enable row level security;
alter table webhook_delivery.slow_endpoints enable row level security;
alter table webhook_delivery.homes enable row level security;
alter table webhook_delivery.payload_functions enable row level security;
-- Of the partitions that exist.
do $$
declare
    existing record;
begin
    for existing in
        select partition from unnest('{events, attempts_ended, attempts_retried}'::name[]) as parent, webhook_delivery.partitions(parent)
    loop
        execute format('alter table webhook_delivery.%I enable row level security', existing.partition);
    end loop;
end
$$;
alter table webhook_delivery.pauses enable row level security;

create policy administrators_of_the_auction on webhook_delivery.pauses for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions()))
        or endpoint_id in (select endpoint.id from public.webhook_endpoints as endpoint));

comment on policy administrators_of_the_auction on webhook_delivery.pauses is 'webhook_endpoint_health reads with the rights of whoever asks';

create view public.webhook_endpoint_health with (security_invoker) as
    select
        endpoint.id as endpoint_id,
        endpoint.auction_id,
        endpoint.is_active,
        endpoint.disabled_at,
        endpoint.disabled_reason,
        (select min(pause.paused_at) from webhook_delivery.pauses as pause
            where pause.endpoint_id = endpoint.id or pause.auction_id = endpoint.auction_id) as paused_at,
        ended.delivered as delivered_24h,
        ended.failed as failed_24h,
        ended.delivered / nullif(ended.delivered + ended.failed, 0)::double precision as success_rate_24h,
        latest.p50 as response_time_p50_ms,
        latest.p95 as response_time_p95_ms,
        health.failing_since,
        coalesce(health.failed_deliveries, 0) as consecutive_failures,
        coalesce(waiting.deliveries, 0) as queued,
        waiting.next_attempt_at
    from public.webhook_endpoints as endpoint
    left join webhook_delivery.endpoint_health as health
        on health.endpoint_id = endpoint.id and health.failing_since >= endpoint.updated_at
    cross join lateral (
        select count(*) filter (where log.delivery_status = 'success') as delivered,
            count(*) filter (where log.delivery_status = 'failed') as failed
        from webhook_delivery.attempts_ended as log
        where log.endpoint_id = endpoint.id and log.created_at > pg_catalog.now() - interval '24 hours'
    ) as ended
    cross join lateral (
        select percentile_disc(0.5) within group (order by recent.response_time_ms) as p50,
            percentile_disc(0.95) within group (order by recent.response_time_ms) as p95
        from (
            select log.response_time_ms
            from webhook_delivery.attempts_ended as log
            where log.endpoint_id = endpoint.id and log.created_at > pg_catalog.now() - interval '24 hours'
            order by log.created_at desc
            limit 1000
        ) as recent
    ) as latest
    left join (
        select queue.endpoint_id, count(*) as deliveries,
            min(nullif(coalesce(queue.not_before, queue.due_at), '-infinity')) as next_attempt_at
        from webhook_delivery.queue
        group by queue.endpoint_id
    ) as waiting on waiting.endpoint_id = endpoint.id;

comment on view public.webhook_endpoint_health is 'How each endpoint does that you may see';

comment on column public.webhook_endpoint_health.endpoint_id is 'The endpoint';

comment on column public.webhook_endpoint_health.auction_id is 'Its auction';

comment on column public.webhook_endpoint_health.is_active is 'Whether it receives';

comment on column public.webhook_endpoint_health.disabled_at is 'When the server disabled it';

comment on column public.webhook_endpoint_health.disabled_reason is 'Why';

comment on column public.webhook_endpoint_health.paused_at is 'When the operator stopped sending to it or to its auction; what happens meanwhile is queued';

comment on column public.webhook_endpoint_health.delivered_24h is 'Deliveries queued in the last 24 hours that have succeeded, tests included';

comment on column public.webhook_endpoint_health.failed_24h is 'Deliveries queued in the last 24 hours that have used up all of their attempts, tests included';

comment on column public.webhook_endpoint_health.success_rate_24h is 'The part of both that has succeeded, 0 to 1; null where there are none';

comment on column public.webhook_endpoint_health.response_time_p50_ms is 'Half of the latest thousand of these were answered within so many milliseconds';

comment on column public.webhook_endpoint_health.response_time_p95_ms is 'Nineteen of twenty were';

comment on column public.webhook_endpoint_health.failing_since is 'When the first attempt failed after the last success; null while it succeeds';

comment on column public.webhook_endpoint_health.consecutive_failures is 'Deliveries in a row that have used up all of their attempts since then';

comment on column public.webhook_endpoint_health.queued is 'Deliveries that wait for an attempt';

comment on column public.webhook_endpoint_health.next_attempt_at is 'When the next of them is due';

create trigger webhook_endpoint_health_is_read_only instead of insert or update or delete on public.webhook_endpoint_health
    for each row execute function webhook_delivery.refuse_to_change_history();

create function webhook_delivery.advice(error_message text, response_status_code integer) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    select case
        when response_status_code in (401, 403) then
            'The receiver lets nobody in: verify the signature with the secret of this endpoint, or give it the header that it wants in webhook_endpoints.headers. A firewall of yours may ask for something as well.'
        when response_status_code in (404, 405) then 'Nobody takes a POST there: correct url.'
        when response_status_code = 410 then 'The receiver says that it wants no more. Where that is wrong, mend it and set is_active to true.'
        when response_status_code = 413 then 'The body is too large for the receiver: raise its limit.'
        when response_status_code = 429 then 'The receiver gets too many: set max_per_second, or raise its limit.'
        when response_status_code between 300 and 399 then 'Redirects are not followed: set url to where it leads.'
        when response_status_code >= 500 then 'The receiver has failed: see its log, at the times of webhook_delivery_attempts.'
        when response_status_code >= 400 then 'The receiver refuses the request: see response_excerpt in webhook_delivery_attempts.'
        when error_message like 'TLS:%' then 'The certificate must be valid for the name in url and come with its chain, of an authority that everybody trusts.'
        when error_message like 'could not resolve%' then 'The name in url has no address: correct it, or its DNS entry.'
        when error_message like 'address not allowed%' then 'url must lead to the public internet.'
        when error_message like 'timed out%' then 'Answer first and do the work afterwards; or nobody is there: does a firewall drop the connection?'
        when error_message like 'connection refused%' then 'Nobody listens there: start the receiver, or correct the port in url.'
        when error_message like 'the payload has%' then 'The event is larger than webhook_delivery.max_payload, which an operator may raise.'
        when error_message like 'cancelled%' then 'redeliver_webhook() sends it after all.'
        else 'See error_message and response_excerpt in webhook_delivery_attempts.'
    end
    $$;

comment on function webhook_delivery.advice(text, integer) is 'What to do about an attempt that failed with this error and HTTP status';

-- Runs as the caller: what he sees is asked in his name.
create function public.webhook_diagnose(endpoint_id uuid)
    returns table ("check" text, is_fine boolean, result text, what_to_do text)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    endpoint public.webhook_endpoints;
    health public.webhook_endpoint_health;
    seen record;
    latest record;
    request_timeout constant numeric := extract(epoch from current_setting('webhook_delivery.request_timeout')::interval) * 1000;
begin
    select known.* into endpoint from public.webhook_endpoints as known where known.id = webhook_diagnose.endpoint_id;
    if not found then
        perform webhook_delivery.refuse_unknown_endpoint(webhook_diagnose.endpoint_id);
    end if;
    select known.* into health from public.webhook_endpoint_health as known where known.endpoint_id = endpoint.id;
    select examined.* into seen from webhook_delivery.examine(endpoint.id) as examined;

    "check" := 'Is it enabled?';
    is_fine := endpoint.is_active;
    result := case
        when endpoint.is_active then 'Yes.'
        when endpoint.disabled_at is not null then
            format('No: the server disabled it at %s: %s.', webhook_delivery.iso_time(endpoint.disabled_at), endpoint.disabled_reason)
        else 'No: is_active is false. New events are not queued for it.'
    end;
    what_to_do := case when not endpoint.is_active then
        'Mend what is wrong below, then: update webhook_endpoints set is_active = true. What waits for it is sent then.' end;
    return next;

    "check" := 'Does the database send?';
    is_fine := seen.state = 'sending' and not seen.is_paused;
    result := case
        when seen.is_paused then format('Not to this endpoint: paused by the operator since %s.', webhook_delivery.iso_time(health.paused_at))
        when seen.state = 'sending' then 'Yes.'
        when seen.state = 'no worker' then 'No: there is no worker.'
        else format('No: %s.', seen.state)
    end;
    what_to_do := case when not is_fine then
        'The operator sees why in webhook_delivery.status, and sends again with webhook_delivery.resume(). What happens meanwhile is queued.' end;
    return next;

    select delivery.event_type, delivery.status, delivery.created_at into latest
    from public.webhook_deliveries as delivery
    where delivery.endpoint_id = endpoint.id and not delivery.is_test
    order by delivery.created_at desc limit 1;
    "check" := 'Which events does it want, and has there been one?';
    is_fine := latest.created_at is not null;
    result := format('It wants %s. ', array_to_string(endpoint.events, ', ')) || case
        when latest.created_at is null then 'Nothing was ever queued for it.'
        else format('The latest: %s at %s, now %s.', latest.event_type, webhook_delivery.iso_time(latest.created_at), latest.status)
    end;
    what_to_do := case when latest.created_at is null then
        'Select the types of what you expect: select event_type, description from webhook_event_types. What happened before the endpoint was there: replay_webhooks(). To try it: test_webhook().' end;
    return next;

    if cardinality(seen.without_trigger) > 0 then
        "check" := 'Do the application''s tables make these events?';
        is_fine := null;
        result := format('No trigger makes %s.', array_to_string(seen.without_trigger, ', '));
        what_to_do := 'The owner of the tables attaches them: select * from webhook_delivery.install_triggers(). Where the application calls emit() for them, nothing is to be done.';
        return next;
    end if;

    "check" := 'Is its address allowed, and does its name resolve?';
    is_fine := seen.problem is null;
    result := case
        when seen.problem is null then format('Yes: %s leads to %s.', endpoint.url, seen.addresses)
        else format('No: %s: %s.', endpoint.url, seen.problem)
    end;
    what_to_do := case when seen.problem is not null then webhook_delivery.advice(seen.problem, null) end;
    return next;

    select count(*) as made, count(*) filter (where recent.status = 'failed') as failed,
        (array_agg(recent.error_message order by recent.attempted_at desc) filter (where recent.status = 'failed'))[1] as error_message,
        (array_agg(recent.response_status_code order by recent.attempted_at desc) filter (where recent.status = 'failed'))[1] as status_code,
        max(recent.attempted_at) filter (where recent.status = 'failed') as failed_at,
        (array_agg(recent.status order by recent.attempted_at desc))[1] as last_status
    into latest
    from (
        select attempt.status, attempt.error_message, attempt.response_status_code, attempt.attempted_at
        from (
            select delivery.id from public.webhook_deliveries as delivery
            where delivery.endpoint_id = endpoint.id
            order by delivery.created_at desc limit 20
        ) as delivery
        join public.webhook_delivery_attempts as attempt on attempt.delivery_id = delivery.id
        order by attempt.attempted_at desc limit 20
    ) as recent;
    "check" := 'How did the last requests end?';
    is_fine := case when latest.made > 0 then latest.last_status = 'success' end;
    result := case
        when latest.made = 0 then 'None was made.'
        when latest.failed = 0 then format('The last %s have succeeded.', latest.made)
        else format('%s of the last %s have failed; the last of these at %s: %s.', latest.failed, latest.made,
            webhook_delivery.iso_time(latest.failed_at), latest.error_message)
    end;
    what_to_do := case
        when latest.failed > 0 then webhook_delivery.advice(latest.error_message, latest.status_code)
            || ' Then: recover_webhooks() sends again what has failed.'
        when latest.made = 0 then 'To try it: test_webhook().'
    end;
    return next;

    "check" := 'How is the signature verified?';
    is_fine := seen.secret_form is not null and (latest.status_code is null or latest.status_code not in (401, 403));
    result := case seen.secret_form
        when 'whsec' then 'The secret begins with whsec_. X-Webhook-Signature: its key is the whole text. webhook-signature: what follows whsec_, decoded from base64; a Standard Webhooks library does that itself.'
        when 'own' then 'The secret is one of your own, and its bytes are the key. A Standard Webhooks library wants it as whsec_ and its base64.'
        else 'It has no secret.'
    end || coalesce(' Until ' || webhook_delivery.iso_time(seen.previous_secret_until)
        || ' webhook-signature carries the signature of the previous secret as well; X-Webhook-Signature does not.', '');
    what_to_do := case
        when seen.secret_form is null then 'Set one: update webhook_endpoints set secret = ...'
        when not is_fine then 'The body is to be verified as it came, to the byte, before it is parsed. webhook_event() shows body, headers and signature of a delivery.'
    end;
    return next;

    "check" := 'Does it answer in time?';
    is_fine := coalesce(health.response_time_p95_ms < request_timeout / 2, true);
    result := case
        when health.response_time_p95_ms is null then 'It was not asked in the last 24 hours.'
        else format('Half of its answers take up to %s ms, and one of twenty more than %s ms. After %s s it is a failure.',
            health.response_time_p50_ms, health.response_time_p95_ms, round(request_timeout / 1000, 1))
    end;
    what_to_do := case when not is_fine then
        'Answer first and do the work afterwards. What is answered too late is sent again: so the same webhook comes twice, and its webhook_id tells.' end;
    return next;

    "check" := 'Does anything wait for it?';
    is_fine := health.queued = 0 or health.next_attempt_at > now() - interval '1 minute';
    result := case
        when health.queued = 0 then 'Nothing.'
        else format('%s deliveries; the next attempt is due at %s.', health.queued, webhook_delivery.iso_time(health.next_attempt_at))
    end || case when health.consecutive_failures > 0 then
        format(' %s in a row have used up all of their attempts, since %s.', health.consecutive_failures,
            webhook_delivery.iso_time(health.failing_since)) else '' end;
    what_to_do := case
        when is_fine then null
        when endpoint.ordered then 'It is ordered: the first that fails holds up all behind it. redeliver_webhook() tries that again now, cancel_webhook() gives it up.'
        when endpoint.max_per_second is not null then format('It takes %s a second: raise max_per_second.', endpoint.max_per_second)
        else 'They go out as fast as it answers, once what is wrong above is mended.'
    end;
    return next;
end
$$;

comment on function public.webhook_diagnose(uuid) is
    'Why does an endpoint not receive? A row for each check: whether it is fine (null: that is yours to say), what was found, and what to do. Its name is looked up, which takes two seconds at most. Unknown endpoint: PT404';

-- What does a monitoring system take?

create view webhook_delivery.metrics as
    with status as materialized (select * from webhook_delivery.status)
    select 'webhook_delivery_' || known.metric as metric, known.type, known.help, ''::text as auction_id, ''::text as endpoint_id, known.value
    from status
    cross join webhook_delivery.worker_report() as worker
    cross join lateral (values
        ('requests_in_flight', 'gauge', 'Requests under way', worker.requests_in_flight::double precision),
        ('attempts_to_record', 'gauge', 'Attempts that have ended and are not in the history yet', worker.attempts_to_record),
        ('delivered_total', 'counter', 'Deliveries that have succeeded since the worker began', worker.delivered),
        ('failed_total', 'counter', 'Deliveries that have failed for good since the worker began', worker.failed),
        ('failed_attempts_total', 'counter', 'Requests that have failed since the worker began', worker.failed_attempts)
    ) as known (metric, type, help, value)
    union all
    select 'webhook_delivery_' || known.metric, known.type, known.help, '', '', known.value
    from status
    cross join lateral (values
        ('up', 'gauge', '1 while the worker sends, 0 where it is paused, fails or is not there', (status.state = 'sending')::integer::double precision),
        ('queued', 'gauge', 'Deliveries still to be made', status.queued),
        ('due', 'gauge', 'Of these, those whose time has come and whose endpoint receives', status.due),
        ('lag_seconds', 'gauge', 'Since when the oldest of those is due',
            coalesce(extract(epoch from pg_catalog.now() - status.oldest_due_at), 0)),
        ('capture_errors', 'gauge', 'Events that could not be built', (select count(*) from webhook_delivery.capture_errors))
    ) as known (metric, type, help, value)
    union all
    select 'webhook_delivery_endpoint_' || known.metric, 'gauge', known.help, endpoint.auction_id::text, endpoint.id::text, known.value
    from webhook_delivery.endpoint_targets as endpoint
    left join webhook_delivery.endpoint_health as health on health.endpoint_id = endpoint.id
    left join webhook_delivery.endpoint_backlog() as waiting on waiting.endpoint_id = endpoint.id
    cross join lateral (values
        ('receives', '1 while the endpoint is enabled and not paused', (endpoint.is_active and not endpoint.is_paused)::integer::double precision),
        ('queued', 'Deliveries to the endpoint still to be made', coalesce(waiting.deliveries, 0)),
        ('consecutive_failures', 'Deliveries in a row that have used up all of their attempts', coalesce(health.failed_deliveries, 0)),
        ('failing_seconds', 'Since when its attempts fail', coalesce(extract(epoch from pg_catalog.now() - health.failing_since), 0))
    ) as known (metric, help, value);

comment on view webhook_delivery.metrics is 'For a Prometheus exporter: a row for each metric and label set. See webhook_delivery.grant_monitor()';

comment on column webhook_delivery.metrics.metric is 'Its name';

comment on column webhook_delivery.metrics.type is 'gauge or counter';

comment on column webhook_delivery.metrics.help is 'What it is';

comment on column webhook_delivery.metrics.auction_id is 'Label; empty where the metric is of all';

comment on column webhook_delivery.metrics.endpoint_id is 'Label; empty where the metric is of all';

comment on column webhook_delivery.metrics.value is 'Its value; null where the queue is locked';

create function webhook_delivery.grant_monitor(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select on webhook_delivery.status, webhook_delivery.metrics to %s', grantee);
    execute format('grant execute on function webhook_delivery.worker_report(), webhook_delivery.queue_depth(),
        webhook_delivery.endpoint_backlog(), webhook_delivery.system_identifier(), webhook_delivery.database_oid() to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_monitor(regrole) is
    'Grants a monitoring system''s role what it reads: webhook_delivery.status and webhook_delivery.metrics. These name auctions and endpoints by their ids, and neither URLs nor data';

-- What does an administrator's page ask for that programs do not?

create function public.webhook_auctions() returns table (auction_id uuid, name text)
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select known.auction_id, known.name from webhook_delivery.named_auctions() as known order by known.name, known.auction_id $$;

comment on function public.webhook_auctions() is
    'The auctions whose webhooks the caller may see and change, with their names in public.auctions; null where there is none. Whoever sees every auction gets those that have endpoints';

create function public.check_webhook_url(url text) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    normal constant text := webhook_delivery.normal_url(url);
begin
    if normal is null or length(normal) > 2000 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = case when normal is null then 'there is no URL' else 'the URL has more than 2000 characters' end,
            hint = 'Give the https:// address that receives the webhooks.';
    end if;
    return normal;
end
$$;

comment on function public.check_webhook_url(text) is
    'Whether an endpoint could have this URL: gives back its normal form, and refuses (22023) what webhook_endpoints would refuse. Its name is not looked up';

-- From the index of each endpoint, which has all that is asked for.
create function public.webhook_activity(since timestamptz, bucket interval default '1 hour')
    returns table (endpoint_id uuid, begins_at timestamptz, delivered bigint, failed bigint)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    if since is null or bucket is null or bucket < '1 minute' or (now() - since) / 1000 > bucket then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'since and bucket make no series of at most 1000 buckets of a minute or more',
            hint = 'Give a time, and an interval such as 1 hour.';
    end if;
    return query
        select endpoint.id, counted.begins_at, counted.delivered, counted.failed
        from public.webhook_endpoints as endpoint
        cross join lateral (
            select date_bin(webhook_activity.bucket, log.created_at, webhook_activity.since) as begins_at,
                count(*) filter (where log.delivery_status = 'success') as delivered,
                count(*) filter (where log.delivery_status = 'failed') as failed
            from webhook_delivery.attempts_ended as log
            where log.endpoint_id = endpoint.id and log.created_at >= webhook_activity.since
            group by 1
        ) as counted
        order by 1, 2;
end
$$;

comment on function public.webhook_activity(timestamptz, interval) is
    'How many deliveries queued since then have been delivered, and have failed, of each endpoint that the caller sees and each bucket of time in which there was any; tests included. More than 1,000 buckets, or shorter than a minute: 22023';

create function webhook_delivery.grant_page(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- PostgREST names the page's type, which is there.
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant execute on function public.webhook_admin(text) to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_page(regrole) is
    'Lets a role load the administrator''s page, and nothing else: PostgREST''s anonymous role, as which a browser asks for it';

-- As whom does the worker act?

create or replace function webhook_delivery.grant_worker(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not (select role.rolbypassrls or role.rolsuper from pg_roles as role where role.oid = grantee) then
        raise exception using
            errcode = 'invalid_grant_operation',
            message = format('row-level security would hide every delivery from role %s', grantee),
            hint = format('First: alter role %s bypassrls. It reads only what is granted to it.', grantee);
    end if;
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, update, delete on webhook_delivery.queue to %s', grantee);
    execute format('grant insert on webhook_delivery.attempts to %s', grantee);
    execute format('grant select, insert, delete on webhook_delivery.slow_endpoints to %s', grantee);
    execute format('grant select on webhook_delivery.events, webhook_delivery.endpoint_targets, webhook_delivery.standing to %s', grantee);
    execute format('grant select on webhook_delivery.endpoint_health to %s', grantee);
    execute format('grant execute on function
        webhook_delivery.tell_failed(uuid[], uuid[], uuid[], text[], smallint[], smallint[], text[], timestamptz[]),
        webhook_delivery.note_health(uuid[], boolean[], timestamptz[], integer[], boolean[], text[], integer, interval) to %s', grantee);
    execute format('grant execute on function webhook_delivery.uuid_v7_time(uuid), webhook_delivery.create_partitions(integer), webhook_delivery.drop_expired(),
        webhook_delivery.system_identifier(), webhook_delivery.database_oid() to %s', grantee);
end
$$;

-- What may which role do? Nothing, unless it is said here. And what is left to do once everything is there.

create or replace function webhook_delivery.grant_api(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, insert, update, delete on public.webhook_endpoints to %s', grantee);
    execute format('grant select on public.webhook_event_types, public.webhook_deliveries, public.webhook_delivery_attempts,
        public.webhook_endpoint_health to %s', grantee);
    -- What the views read, in the name of whoever asks. Row-level security decides here.
    execute format('grant select on webhook_delivery.queue, webhook_delivery.endpoint_health to %s', grantee);
    -- Why is between the operator and himself.
    execute format('grant select (endpoint_id, auction_id, paused_at) on webhook_delivery.pauses to %s', grantee);
    -- Who was called, and where the time went, is the operator's.
    execute format('grant select (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status, response_status_code,
        response_time_ms, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, created_at)
        on webhook_delivery.attempts, webhook_delivery.attempts_ended to %s', grantee);
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest(webhook_delivery.tenant_routines()) as routine);
end
$$;

comment on function webhook_delivery.grant_api(regrole) is
    'Grants a role the tenants'' interface: endpoints with their generated_secret(), catalogue, history, test_webhook() and the other calls. Row-level security still decides which rows';

create or replace function webhook_delivery.grant_application(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select on webhook_delivery.watched_changes, webhook_delivery.needed_tables, webhook_delivery.payloads to %s', grantee);
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest('{
            "webhook_delivery.emit(text, uuid, json)",
            "webhook_delivery.emit_for(text, uuid[], text)",
            "webhook_delivery.register_event_type(text, text, json, json)",
            "webhook_delivery.schema_of(json, boolean)",
            "webhook_delivery.set_payload_function(text, regprocedure, regclass)",
            "webhook_delivery.row_event()",
            "webhook_delivery.note_change()",
            "webhook_delivery.note_move()",
            "webhook_delivery.install_triggers(text)",
            "webhook_delivery.remove_triggers()",
            "webhook_delivery.unsuitable_columns(regclass, text[])",
            "webhook_delivery.reading_obstacle(regclass, regclass)"}'::regprocedure[]) as routine);
end
$$;

select webhook_delivery.grant_page(oid) from pg_catalog.pg_roles where rolname = 'anon';

comment on function webhook_delivery.worker_report() is 'What the worker of this database says of itself; no row where there is none. See webhook_delivery.status';

comment on function webhook_delivery.resend(uuid[]) is 'Sends those of these deliveries again that the caller sees and whose endpoint and event are still there, each with a whole schedule of attempts: select webhook_delivery.resend(array_agg(id)) from webhook_deliveries where ... Gives back how many. Of each endpoint webhook_delivery.resend_per_second come due each second, oldest first. A tenant with more than webhook_delivery.max_resend: 22023';

comment on function webhook_delivery.cancel(uuid[]) is 'Ends those of these deliveries that the caller sees and that wait for an attempt, as failed with the error "cancelled"; gives back how many. A request that is under way is let end, and may still succeed';

comment on function webhook_delivery.replay(uuid, timestamptz, timestamptz, text[]) is 'What replay_webhooks() does: queues events from this time until before that one, of these types, for an endpoint that has not had them. Gives back how many, null where the caller sees no such endpoint';

comment on function webhook_delivery.emit_for(text, uuid[], text) is 'Sends this event of the catalogue for each of these rows (keys of the table whose changes make it) of the schema''s tables, with the data that they have now: for what was there before the endpoint or the triggers. Gives back how many events were written: none for rows that are not there or that nobody wants. Unknown type: 22023; no such schema: 3F000; what cannot be built ends the statement. Grant EXECUTE to the roles that may speak for every auction';

comment on function webhook_delivery.request_of(uuid) is 'URL, headers and body of the last request of a delivery that the caller sees, or of the first where none was made yet: no row where he sees none; null what is gone. See webhook_event()';

comment on function webhook_delivery.examine(uuid) is 'What webhook_diagnose() asks of an endpoint that the caller sees, beside what he sees himself: addresses of its URL or the problem with them (the name is looked up, which takes two seconds at most), the form of its secret (whsec or own), until when the previous one signs as well, the state of the worker, whether it is paused, the built-in events that it wants and no trigger makes. No row where he sees none';

comment on function webhook_delivery.expunge(uuid, uuid, text) is 'What expunge_webhook_data() does: deletes the data of the auction''s events, of those about this row (or null) and with this text in it (or null). Gives back how many, null where the caller does not administer the auction';

comment on function public.webhook_admin(text) is 'The administrator''s page: endpoints, tests, history and what is wrong with them, for whoever signs in. PostgREST serves it as rpc/webhook_admin, as a browser asks for it; the argument is the gateway''s key, where the address has to carry one';

comment on function webhook_delivery.admin_page(text) is 'The same page for a web server of your own; the argument is the address that PostgREST is called at: https://HOST/rest/v1. What cannot be one: 22023';

comment on function webhook_delivery.named_auctions() is 'What webhook_auctions() shows';

-- Default privileges have opened what is new to others.
select webhook_delivery.revoke_from_others(
    but_not => pg_catalog.string_to_array(pg_catalog.current_setting('webhook_update.members'), ',')::oid[]);

-- Whoever had the tenants' interface, the application's or the worker's has what is new of it.
do $$
declare
    granted record;
begin
    for granted in
        select distinct known.kind, acl.grantee::regrole as grantee
        from (values
            ('api', 'public.test_webhook(uuid, text)'::regprocedure),
            ('application', 'webhook_delivery.register_event_type(text, text, json, json)'),
            ('worker', 'webhook_delivery.tell_failed(uuid[], uuid[], uuid[], text[], smallint[], smallint[], text[], timestamptz[])')
        ) as known (kind, routine)
        join pg_catalog.pg_proc as routine on routine.oid = known.routine
        cross join lateral pg_catalog.aclexplode(routine.proacl) as acl
        where acl.grantee not in (0, routine.proowner) and acl.privilege_type = 'EXECUTE'
    loop
        case granted.kind
            when 'api' then
                -- From now on by columns.
                execute pg_catalog.format('revoke select on webhook_delivery.attempts, webhook_delivery.attempts_ended from %s', granted.grantee);
                perform webhook_delivery.grant_api(granted.grantee);
            when 'application' then perform webhook_delivery.grant_application(granted.grantee);
            when 'worker' then perform webhook_delivery.grant_worker(granted.grantee);
        end case;
    end loop;
end
$$;

select webhook_delivery.grant_page(oid) from pg_catalog.pg_roles where rolname = 'anon';

-- The worker waits for this.
select webhook_delivery.wake('-infinity');
