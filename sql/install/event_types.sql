-- The catalogue of event types.

do $$
begin
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'webhook_delivery needs a database in UTF8, this one is in ' || pg_catalog.current_setting('server_encoding'),
            hint = 'Bodies are JSON, and JSON is UTF-8. Create the database with: create database ... encoding ''UTF8'' template template0.';
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

create trigger webhook_event_types_are_remembered after insert or update or delete or truncate on public.webhook_event_types
    for each statement execute function webhook_delivery.announce_change();
-- Also where a subscriber of logical replication writes, or a restore.
alter table public.webhook_event_types enable always trigger webhook_event_types_are_remembered;

comment on table public.webhook_event_types is
    'The events that an endpoint can subscribe to. webhook_delivery.register_event_type() makes one of your own known.';
comment on column public.webhook_event_types.event_type is 'Family and what happened, in lower case: submission.created';
comment on column public.webhook_event_types.family is 'What comes before the dot: an endpoint subscribes to all of the family with submission.*';
comment on column public.webhook_event_types.description is 'When the event happens, in a sentence for customers';
comment on column public.webhook_event_types.schema is 'JSON Schema (2020-12) of the "data" of the event''s body';
comment on column public.webhook_event_types.example is 'Example of the "data" of the event''s body; test_webhook() sends it';
comment on column public.webhook_event_types.is_builtin is 'Came with the extension; rows of your own have false and are carried by pg_dump';

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
            raise exception using errcode = 'invalid_parameter_value', message = format('unknown type in a shape: %s', word),
                hint = 'Types are string, integer, number, boolean, uuid, time, email and uri.';
        end if;
    elsif word is null or word not in ('object', 'array') then
        raise exception using errcode = 'invalid_parameter_value', message = format('%s is no shape', shape),
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
    'The JSON Schema of data that looks like this: {"id": "uuid", "notes?": "string", "entries": [{"count": "integer"}]}. All fields are required; one whose name ends in ? may be null';

select pg_catalog.pg_extension_config_dump('public.webhook_event_types', 'where not is_builtin');
