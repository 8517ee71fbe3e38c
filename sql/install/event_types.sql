-- The catalogue of event types, and the check that the database is encoded in UTF8.
--
-- Built-in types are added by the files in sql/families/, types of an application by
-- register_event_type() in own_events.sql.

do $$
begin
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'webhook_delivery requires a database with encoding UTF8, not ' || pg_catalog.current_setting('server_encoding'),
            hint = 'Request bodies are JSON, which is encoded in UTF-8. Create the database with: create database ... encoding ''UTF8'' template template0.';
    end if;
end
$$;

create table public.webhook_event_types (
    event_type text not null,
    family text generated always as (split_part(event_type, '.', 1)) stored,
    description text not null,
    schema json not null default 'true',
    example json not null,
    is_builtin boolean not null default false,
    constraint event_types_are_unique primary key (event_type),
    constraint event_type_is_family_dot_what_happened check (event_type ~ '^[a-z][a-z0-9_]{0,62}[.][a-z][a-z0-9_]{0,62}$'),
    constraint description_is_at_most_1000_characters check (length(description) <= 1000),
    constraint schema_is_an_object_or_a_boolean check (json_typeof(schema) in ('object', 'boolean'))
);

create trigger webhook_event_types_announce_changes after insert or update or delete or truncate on public.webhook_event_types
    for each statement execute function webhook_delivery.announce_change();
-- The trigger also fires when a subscriber of logical replication or a restore writes.
alter table public.webhook_event_types enable always trigger webhook_event_types_announce_changes;

comment on table public.webhook_event_types is
    'Event types that an endpoint can subscribe to. webhook_delivery.register_event_type() adds one of the application''s own';
comment on column public.webhook_event_types.event_type is 'Name of the event type in lower case, family.what_happened: submission.created';
comment on column public.webhook_event_types.family is 'Part of the name before the dot; an endpoint subscribes to the whole family with submission.*';
comment on column public.webhook_event_types.description is 'When the event happens, in a sentence for customers';
comment on column public.webhook_event_types.schema is 'JSON Schema (2020-12) of "data" in the event''s body';
comment on column public.webhook_event_types.example is 'Example of "data" in the event''s body, which test_webhook() sends';
comment on column public.webhook_event_types.is_builtin is 'Whether the event type came with the extension; pg_dump dumps those of the application only';

create function webhook_delivery.schema_of(shape json, nullable boolean default false) returns json
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    word text := json_typeof(shape);
    format text;
    type json;
begin
    if word = 'string' then
        word := shape #>> '{}';
        format := case word when 'uuid' then 'uuid' when 'time' then 'date-time' when 'email' then 'email' when 'uri' then 'uri' end;
        if format is not null then
            word := 'string';
        elsif word not in ('string', 'integer', 'number', 'boolean') then
            raise exception using errcode = 'invalid_parameter_value', message = format('invalid type in shape: %s', word),
                hint = 'Types are string, integer, number, boolean, uuid, time, email and uri.';
        end if;
    elsif word is null or word not in ('object', 'array') then
        raise exception using errcode = 'invalid_parameter_value', message = format('invalid shape: %s', shape),
            hint = 'A shape is an object of shapes, an array with one, or the name of a type.';
    end if;
    type := case when nullable then json_build_array(word, 'null') else to_json(word) end;
    case
        when word = 'object' then
            return json_build_object(
                'type', type,
                'properties', coalesce((
                    select json_object_agg(rtrim(field.key, '?'), webhook_delivery.schema_of(field.value, field.key like '%?'))
                    from json_each(shape) as field), '{}'),
                'required', coalesce((select json_agg(rtrim(field.key, '?')) from json_each(shape) as field), '[]'));
        when word = 'array' then
            return json_build_object('type', type, 'items', webhook_delivery.schema_of(shape -> 0));
        when format is not null then
            return json_build_object('type', type, 'format', format);
        else
            return json_build_object('type', type);
    end case;
end
$$;

comment on function webhook_delivery.schema_of(json, boolean) is
    'Returns the JSON Schema of data of this shape: {"id": "uuid", "notes?": "string", "entries": [{"count": "integer"}]}. All fields are required; a field whose name ends in ? may be null';

select pg_catalog.pg_extension_config_dump('public.webhook_event_types', 'where not is_builtin');
