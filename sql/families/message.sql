-- Event family message.*: chat messages, read from messages. The content of a deleted message is
-- not sent.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description,
    webhook_delivery.schema_of(format('{%s}', concat_ws(', ', common.shape, event.shape))::json),
    format('{%s}', concat_ws(', ', format(common.example, event.content), event.example))::json, true
from (values ($shape$
    "id": "uuid", "channel_id": "uuid", "channel_name?": "string", "user_id?": "uuid", "sender_name?": "string",
    "content?": "string", "message_type?": "string", "is_thread_reply": "boolean", "parent_message_id?": "uuid",
    "mentions": ["uuid"], "created_at": "time"$shape$, $example$
  "id": "6a1d8e03-4f57-4c92-b0a8-3d9e7c5f1b51",
  "channel_id": "d5c2f7a9-8b36-4e01-9f4d-6a0b3e8c7d61",
  "channel_name": "lot-runners",
  "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04",
  "sender_name": "Dana Reyes",
  "content": %s,
  "message_type": "text",
  "is_thread_reply": false,
  "parent_message_id": null,
  "mentions": ["a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31"],
  "created_at": "2026-01-15T14:30:00.000Z"$example$)
) as common (shape, example), (values
    ('message.created', 'A message is sent', '"@Sam the blue truck is ready"', null, null),
    ('message.edited', 'The content of a message changes', '"@Sam the red truck is ready"', '"edited_at?": "time"', '
  "edited_at": "2026-01-15T14:31:00.000Z"'),
    ('message.deleted', 'A message is deleted; its content is null', 'null', '"deleted_at": "time"', '
  "deleted_at": "2026-01-15T14:32:00.000Z"')
) as event (event_type, description, content, shape, example);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, changed_column, auction_column, suppressed_by_event, include_previous) values
    ('message.created', 'messages', 'insert', null, 'auction_id', null, false),
    ('message.edited', 'messages', 'update', 'content', 'auction_id', 'message.created', true),
    ('message.deleted', 'messages', 'update', 'deleted_at', 'auction_id', 'message.created', true);

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('messages', 'messages',
        '{id uuid,auction_id uuid,channel_id uuid,user_id uuid,content text,message_type text,parent_message_id uuid,mentions uuid[],created_at timestamptz,edited_at timestamptz,deleted_at timestamptz}'),
    ('messages', 'channels', '{id uuid,name text}'),
    ('messages', 'users', '{id uuid,full_name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query, previous_columns)
select payload.event_type, 'messages', $query$
    select message.id, message.auction_id,
        case @event@
            when 'message.created' then row_to_json(told)
            when 'message.edited' then (select row_to_json(more) from (
                select told.*, to_char(timezone('UTC', message.edited_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as edited_at) as more)
            else (select row_to_json(more) from (
                select told.*, to_char(timezone('UTC', message.deleted_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as deleted_at) as more)
        end as data
    from @changed@
    cross join lateral (select * from @messages@ as messages where messages.id = changed.id limit 1) as message
    cross join lateral (
        select message.id, message.channel_id,
            (select channel.name from @channels@ as channel where channel.id = message.channel_id) as channel_name,
            message.user_id,
            (select sender.full_name from @users@ as sender where sender.id = message.user_id) as sender_name,
            case when message.deleted_at is null then message.content end as content,
            message.message_type,
            message.parent_message_id is not null as is_thread_reply,
            message.parent_message_id,
            coalesce(message.mentions, '{}') as mentions,
            to_char(timezone('UTC', message.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at
    ) as told
    -- A message that is deleted by the end of the transaction counts as neither created nor edited.
    where case @event@
        when 'message.created' then message.deleted_at is null
        when 'message.edited' then message.deleted_at is null and changed.previous ->> 'content' is distinct from message.content::text
        else message.deleted_at is not null and changed.previous ->> 'deleted_at' is null
    end
    order by changed.position
$query$, payload.previous_columns
from (values
    ('message.created', '{}'::name[]),
    ('message.edited', '{content}'),
    ('message.deleted', '{deleted_at}')
) as payload (event_type, previous_columns);
