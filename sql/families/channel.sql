-- Event family channel.*: chat channels, read from channels.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description,
    webhook_delivery.schema_of(format('{%s}', concat_ws(', ', common.shape, event.shape))::json),
    format('{%s}', concat_ws(', ', common.example, event.example))::json, true
from (values ($shape$
    "id": "uuid", "name": "string", "description?": "string", "is_private": "boolean",
    "created_by?": {"id": "uuid", "name?": "string"}, "created_at": "time"$shape$, $example$
  "id": "d5c2f7a9-8b36-4e01-9f4d-6a0b3e8c7d61",
  "name": "lot-runners",
  "description": "Who moves what where",
  "is_private": false,
  "created_by": {"id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04", "name": "Dana Reyes"},
  "created_at": "2026-01-15T14:30:00.000Z"$example$)
) as common (shape, example), (values
    ('channel.created', 'A channel is created', null, null),
    ('channel.archived', 'A channel is archived', '"archived_at": "time"', '
  "archived_at": "2026-03-31T18:00:00.000Z"')
) as event (event_type, description, shape, example);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, changed_column, auction_column, suppressed_by_event, include_previous) values
    ('channel.created', 'channels', 'insert', null, 'auction_id', null, false),
    ('channel.archived', 'channels', 'update', 'archived_at', 'auction_id', 'channel.created', true);

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('channels', 'channels',
        '{id uuid,auction_id uuid,name text,description text,is_private boolean,created_by uuid,created_at timestamptz,archived_at timestamptz}'),
    ('channels', 'users', '{id uuid,full_name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query, previous_columns)
select payload.event_type, 'channels', $query$
    select channel.id, channel.auction_id,
        case @event@
            when 'channel.created' then row_to_json(told)
            else (select row_to_json(more) from (
                select told.*, to_char(timezone('UTC', channel.archived_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as archived_at) as more)
        end as data
    from @changed@
    cross join lateral (select * from @channels@ as channels where channels.id = changed.id limit 1) as channel
    cross join lateral (
        select channel.id, channel.name, channel.description, channel.is_private,
            case when channel.created_by is not null then json_build_object('id', channel.created_by, 'name', (
                select person.full_name from @users@ as person where person.id = channel.created_by)) end as created_by,
            to_char(timezone('UTC', channel.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at
    ) as told
    -- A channel that is already archived when it is created, as by an import, is not an event.
    where case @event@
        when 'channel.created' then channel.archived_at is null
        else channel.archived_at is not null and changed.previous ->> 'archived_at' is null
    end
    order by changed.position
$query$, payload.previous_columns
from (values
    ('channel.created', '{}'::name[]),
    ('channel.archived', '{archived_at}')
) as payload (event_type, previous_columns);
