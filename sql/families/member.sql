-- Event family member.*: members of an auction and invitations to it, read from auction_members and
-- auction_invitations. The event of a removed member is built from the row as it was before.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description,
    webhook_delivery.schema_of(format('{%s}', concat_ws(', ', common.shape, event.shape))::json),
    format('{%s}', concat_ws(', ', format(common.example, event.user_id, event.full_name, event.joined_at), event.example))::json, true
from (values ($shape$
    "user_id?": "uuid", "email?": "email", "full_name?": "string", "role": "string",
    "invited_by?": {"id": "uuid", "name?": "string"}, "joined_at?": "time"$shape$, $example$
  "user_id": %s,
  "email": "sam@example.com",
  "full_name": %s,
  "role": "member",
  "invited_by": {"id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04", "name": "Dana Reyes"},
  "joined_at": %s$example$)
) as common (shape, example), (values
    ('member.invited', 'An invitation is sent', 'null', 'null', 'null', '"invited_at": "time"', '
  "invited_at": "2026-01-14T09:00:00.000Z"'),
    ('member.joined', 'An invitation is accepted: a user becomes a member',
        '"a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31"', '"Sam Okafor"', '"2026-01-15T14:30:00.000Z"', null, null),
    ('member.role_changed', 'The role of a member changes',
        '"a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31"', '"Sam Okafor"', '"2026-01-15T14:30:00.000Z"',
        '"previous_role": "string", "new_role": "string"', '
  "previous_role": "admin",
  "new_role": "member"'),
    ('member.removed', 'A member is removed',
        '"a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31"', '"Sam Okafor"', '"2026-01-15T14:30:00.000Z"', '"removed_at": "time"', '
  "removed_at": "2026-03-31T18:00:00.000Z"')
) as event (event_type, description, user_id, full_name, joined_at, shape, example);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, changed_column, auction_column, suppressed_by_event, include_previous) values
    ('member.invited', 'auction_invitations', 'insert', null, 'auction_id', null, false),
    ('member.invited', 'auction_invitations', 'update', 'invited_at', 'auction_id', null, false),
    ('member.joined', 'auction_members', 'insert', null, 'auction_id', null, false),
    ('member.role_changed', 'auction_members', 'update', 'role', 'auction_id', 'member.joined', true),
    ('member.removed', 'auction_members', 'delete', null, 'auction_id', 'member.joined', true);

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('auction_members', 'auction_members', '{id uuid,auction_id uuid,user_id uuid,role text,invited_by uuid,joined_at timestamptz}'),
    ('auction_members', 'auctions', '{id uuid}'),
    ('auction_members', 'users', '{id uuid,full_name text,email text}'),
    ('auction_invitations', 'auction_invitations', '{id uuid,auction_id uuid,email text,user_id uuid,role text,invited_by uuid,invited_at timestamptz}'),
    ('auction_invitations', 'users', '{id uuid,full_name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query) values ('member.invited', 'auction_invitations', $query$
    select invitation.id, invitation.auction_id,
        json_build_object(
            'user_id', invitation.user_id,
            'email', invitation.email,
            'full_name', (select person.full_name from @users@ as person where person.id = invitation.user_id),
            'role', invitation.role,
            'invited_by', case when invitation.invited_by is not null then json_build_object('id', invitation.invited_by, 'name', (
                select person.full_name from @users@ as person where person.id = invitation.invited_by)) end,
            'joined_at', null,
            'invited_at', to_char(timezone('UTC', invitation.invited_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as data
    from @changed@
    cross join lateral (select * from @auction_invitations@ as auction_invitations where auction_invitations.id = changed.id limit 1) as invitation
    order by changed.position
$query$);

insert into webhook_delivery.payload_queries (event_type, source_table, query, previous_columns)
select payload.event_type, 'auction_members', $query$
    select member.id, member.auction_id,
        case @event@
            when 'member.joined' then row_to_json(told)
            when 'member.role_changed' then (select row_to_json(more) from (
                select told.*, changed.previous ->> 'role' as previous_role, member.role as new_role) as more)
            else (select row_to_json(more) from (
                select told.*, to_char(timezone('UTC', $3), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as removed_at) as more)
        end as data
    from @changed@
    cross join lateral (
        (select found.id, found.auction_id, found.user_id, found.role::text as role, found.invited_by, found.joined_at
        from @auction_members@ as found
        where @event@ <> 'member.removed' and found.id = changed.id
        limit 1)
        union all
        select gone.id, gone.auction_id, gone.user_id, gone.role, gone.invited_by, gone.joined_at
        from json_to_record(changed.previous) as gone (
            id uuid, auction_id uuid, user_id uuid, role text, invited_by uuid, joined_at timestamptz)
        where @event@ = 'member.removed'
            -- No event if the auction is deleted with all its rows, or if the user is a member
            -- again.
            and exists (select from @auctions@ as auction where auction.id = gone.auction_id)
            and not exists (
                select from @auction_members@ as again
                where again.auction_id = gone.auction_id and again.user_id = gone.user_id)
    ) as member
    cross join lateral (
        select member.user_id,
            (select person.email from @users@ as person where person.id = member.user_id) as email,
            (select person.full_name from @users@ as person where person.id = member.user_id) as full_name,
            member.role,
            case when member.invited_by is not null then json_build_object('id', member.invited_by, 'name', (
                select person.full_name from @users@ as person where person.id = member.invited_by)) end as invited_by,
            to_char(timezone('UTC', member.joined_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as joined_at
    ) as told
    where @event@ <> 'member.role_changed' or changed.previous ->> 'role' is distinct from member.role
    order by changed.position
$query$, payload.previous_columns
from (values
    ('member.joined', '{}'::name[]),
    ('member.role_changed', '{role}'),
    ('member.removed', '{id,auction_id,user_id,role,invited_by,joined_at}')
) as payload (event_type, previous_columns);
