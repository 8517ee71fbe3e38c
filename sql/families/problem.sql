-- Event family problem.*: rock reports, read from problems and problem_actions.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description,
    webhook_delivery.schema_of(format('{%s}', concat_ws(', ', common.shape, event.shape))::json),
    format('{%s}', concat_ws(', ', format(common.example, event.previous_status), event.example))::json, true
from (values ($shape$
    "id": "uuid", "issue_name": "string", "area?": "string", "location_id?": "uuid", "location_name?": "string",
    "previous_status?": "string", "new_status": "string",
    "prepared_by?": {"id": "uuid", "name?": "string"}, "assigned_to?": {"id": "uuid", "name?": "string"},
    "action_count": "integer", "completed_action_count": "integer", "updated_at?": "time"$shape$, $example$
  "id": "9c4e7b12-5a80-4d3f-b1e6-8f2d6c0a7e21",
  "issue_name": "Gate B does not close",
  "area": "Check-in",
  "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03",
  "location_name": "North Lot",
  "previous_status": %s,
  "new_status": "in_progress",
  "prepared_by": {"id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04", "name": "Dana Reyes"},
  "assigned_to": {"id": "a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31", "name": "Sam Okafor"},
  "action_count": 3,
  "completed_action_count": 1,
  "updated_at": "2026-01-15T14:30:00.000Z"$example$)
) as common (shape, example), (values
    ('problem.created', 'A rock report is submitted', 'null', null, null),
    ('problem.status_changed', 'The status of a rock report changes: open, in_progress, closed', '"open"', null, null),
    ('problem.assigned', 'A rock report is assigned, or assigned to another user', 'null',
        '"previous_assigned_to?": {"id": "uuid", "name?": "string"}', '
  "previous_assigned_to": null'),
    ('problem.action_completed', 'An action item of a rock report is completed', 'null',
        '"action": {"id": "uuid", "description": "string", "completed_by?": {"id": "uuid", "name?": "string"}, "completed_at": "time"}', '
  "action": {
    "id": "e2d7b9f4-6c15-4a08-8e3b-5f9c1d7a0b41",
    "description": "Order a new hinge",
    "completed_by": {"id": "a80f4d6c-2b19-4e75-9c3d-7e1b5a0f8d31", "name": "Sam Okafor"},
    "completed_at": "2026-01-15T14:30:00.000Z"
  }')
) as event (event_type, description, previous_status, shape, example);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, changed_column, key_column, auction_column, subject_column, suppressed_by_event, include_previous) values
    ('problem.created', 'problems', 'insert', null, 'id', 'auction_id', null, null, false),
    ('problem.status_changed', 'problems', 'update', 'status',
        'id', 'auction_id', null, 'problem.created', true),
    ('problem.assigned', 'problems', 'update', 'assigned_to',
        'id', 'auction_id', null, 'problem.created', true),
    ('problem.action_completed', 'problem_actions', 'insert', 'completed_at',
        'id', null, 'problem_id', 'problem.created', true),
    ('problem.action_completed', 'problem_actions', 'update', 'completed_at',
        'id', null, 'problem_id', 'problem.created', true);

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('problems', 'problems',
        '{id uuid,auction_id uuid,issue_name text,area text,location_id uuid,status text,prepared_by uuid,assigned_to uuid,updated_at timestamptz}'),
    ('problems', 'problem_actions', '{id uuid,problem_id uuid,description text,completed_at timestamptz,completed_by uuid}'),
    ('problems', 'locations', '{id uuid,name text}'),
    ('problems', 'users', '{id uuid,full_name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query, previous_columns)
select payload.event_type, 'problems', $query$
    select problem.id, problem.auction_id,
        case @event@
            when 'problem.assigned' then (select row_to_json(more) from (
                select told.*,
                    case when before.assigned_to is not null then json_build_object('id', before.assigned_to, 'name', (
                        select person.full_name from @users@ as person where person.id = before.assigned_to))
                    end as previous_assigned_to) as more)
            when 'problem.action_completed' then (select row_to_json(more) from (
                select told.*, json_build_object(
                    'id', action.id,
                    'description', action.description,
                    'completed_by', case when action.completed_by is not null then json_build_object('id', action.completed_by, 'name', (
                        select person.full_name from @users@ as person where person.id = action.completed_by)) end,
                    'completed_at', to_char(timezone('UTC', action.completed_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as action) as more)
            else row_to_json(told)
        end as data
    from @changed@
    cross join lateral (
        select changed.previous ->> 'status' as status, (changed.previous ->> 'assigned_to')::uuid as assigned_to,
            changed.previous ->> 'completed_at' as completed_at
    ) as before
    left join lateral (
        select * from @problem_actions@ as problem_actions
        where @event@ = 'problem.action_completed' and problem_actions.id = changed.id limit 1
    ) as action on true
    cross join lateral (
        select * from @problems@ as problems
        where problems.id = case @event@ when 'problem.action_completed' then action.problem_id else changed.id end limit 1
    ) as problem
    cross join lateral (
        select count(*) as number, count(counted.completed_at) as completed
        from @problem_actions@ as counted
        where counted.problem_id = problem.id
    ) as actions
    cross join lateral (
        select problem.id, problem.issue_name, problem.area, problem.location_id,
            (select location.name from @locations@ as location where location.id = problem.location_id) as location_name,
            case @event@ when 'problem.status_changed' then before.status end as previous_status,
            problem.status as new_status,
            case when problem.prepared_by is not null then json_build_object('id', problem.prepared_by, 'name', (
                select person.full_name from @users@ as person where person.id = problem.prepared_by)) end as prepared_by,
            case when problem.assigned_to is not null then json_build_object('id', problem.assigned_to, 'name', (
                select person.full_name from @users@ as person where person.id = problem.assigned_to)) end as assigned_to,
            actions.number as action_count,
            actions.completed as completed_action_count,
            to_char(timezone('UTC', problem.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as updated_at
    ) as told
    -- A column with the same value at the end of the transaction as before it has not changed. The
    -- removal of an assignment is not an assignment.
    where case @event@
        when 'problem.created' then true
        when 'problem.status_changed' then before.status is distinct from problem.status::text
        when 'problem.assigned' then before.assigned_to is distinct from problem.assigned_to and problem.assigned_to is not null
        when 'problem.action_completed' then before.completed_at is null and action.completed_at is not null
    end
    order by changed.position
$query$, payload.previous_columns
from (values
    ('problem.created', '{}'::name[]),
    ('problem.status_changed', '{status}'),
    ('problem.assigned', '{assigned_to}'),
    ('problem.action_completed', '{completed_at}')
) as payload (event_type, previous_columns);
