-- Event family submission.*: lot counts, read from submissions and submission_entries. A count with
-- its entries is one event.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description, webhook_delivery.schema_of($shape${
    "id": "uuid", "location_id?": "uuid", "location_name?": "string", "user_id?": "uuid", "submitted_by?": "string", "submitted_at": "time",
    "entries": [{"type_id?": "uuid", "type_name?": "string", "car_count": "number", "image_url?": "string"}],
    "total_car_count": "number", "image_url?": "string"
}$shape$), $example${
  "id": "7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601",
  "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03",
  "location_name": "North Lot",
  "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04",
  "submitted_by": "Dana Reyes",
  "submitted_at": "2026-01-15T14:30:00.000Z",
  "entries": [
    {"type_id": "e0b4c2a6-3d18-4f59-8c71-2a6b9d0e4f05", "type_name": "Sedan", "car_count": 42, "image_url": null},
    {"type_id": "f1c5d3b7-4e29-4a6a-9d82-3b7c0e1f5a06", "type_name": "Truck", "car_count": 17, "image_url": null}
  ],
  "total_car_count": 59,
  "image_url": null
}$example$, true
from (values
    ('submission.created', 'A team member submits a lot count'),
    ('submission.updated', 'A submitted lot count is edited; entries added, changed or removed count as an edit')
) as event (event_type, description);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, key_column, auction_column, suppressed_by_event) values
    ('submission.created', 'submissions', 'insert', 'id', 'auction_id', null),
    ('submission.updated', 'submissions', 'update', 'id', 'auction_id', 'submission.created'),
    ('submission.updated', 'submission_entries', 'insert', 'submission_id', null, 'submission.created'),
    ('submission.updated', 'submission_entries', 'update', 'submission_id', null, 'submission.created'),
    ('submission.updated', 'submission_entries', 'delete', 'submission_id', null, 'submission.created');

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('submissions', 'submissions', '{id uuid,auction_id uuid,location_id uuid,user_id uuid,submitted_at timestamptz,image_url text}'),
    ('submissions', 'submission_entries', '{id uuid,submission_id uuid,type_id uuid,car_count numeric,image_url text,position numeric}'),
    ('submissions', 'locations', '{id uuid,name text}'),
    ('submissions', 'users', '{id uuid,full_name text}'),
    ('submissions', 'count_types', '{id uuid,name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query)
select event_type, 'submissions', $query$
    select submission.id, submission.auction_id,
        json_build_object(
            'id', submission.id,
            'location_id', submission.location_id,
            'location_name', (select location.name from @locations@ as location where location.id = submission.location_id),
            'user_id', submission.user_id,
            'submitted_by', (select submitter.full_name from @users@ as submitter where submitter.id = submission.user_id),
            'submitted_at', to_char(timezone('UTC', submission.submitted_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'entries', coalesce(counted.entries, '[]'),
            'total_car_count', coalesce(counted.total, 0),
            'image_url', submission.image_url) as data
    from @changed@
    -- The LIMIT keeps the planner from reversing the look-up, that is, from reading the whole table
    -- and searching for each of its rows among the keys.
    cross join lateral (select * from @submissions@ as submissions where submissions.id = changed.id limit 1) as submission
    cross join lateral (
        select sum(entry.car_count) as total,
            json_agg(json_build_object(
                'type_id', entry.type_id,
                'type_name', (select kind.name from @count_types@ as kind where kind.id = entry.type_id),
                'car_count', entry.car_count,
                'image_url', entry.image_url) order by entry.position, entry.id) as entries
        from @submission_entries@ as entry
        where entry.submission_id = submission.id
    ) as counted
    order by changed.position
$query$
from unnest('{submission.created,submission.updated}'::text[]) as event_type;
