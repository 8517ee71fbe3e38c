-- Event family inspection.*: quality inspections, read from inspections and inspection_defects.
-- Defects that are inserted together with their inspection are part of it; each later defect is an
-- event.

insert into public.webhook_event_types (event_type, description, schema, example, is_builtin)
select event.event_type, event.description,
    webhook_delivery.schema_of(format('{%s}', concat_ws(', ', common.shape, event.shape))::json),
    format('{%s}', concat_ws(', ', common.example, event.example))::json, true
from (values ($shape$
    "id": "uuid", "location_id?": "uuid", "location_name?": "string", "user_id?": "uuid", "inspector_name?": "string",
    "vin_number?": "string", "barcode?": "string", "submitted_at": "time",
    "defect_count": "integer", "defects": [{"category?": "string", "notes?": "string"}]$shape$, $example$
  "id": "3f1c9a50-7d42-4b8e-a6c1-0e5d2b7f9a11",
  "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03",
  "location_name": "North Lot",
  "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04",
  "inspector_name": "Dana Reyes",
  "vin_number": "1HGCM82633A004352",
  "barcode": "0042-118",
  "submitted_at": "2026-01-15T14:30:00.000Z",
  "defect_count": 1,
  "defects": [{"category": "paint", "notes": "Scratch on the left front door"}]$example$)
) as common (shape, example), (values
    ('inspection.created', 'A quality inspection is submitted', null, null),
    ('inspection.defect_added', 'A defect is added to an inspection that was submitted before',
        '"defect": {"category?": "string", "notes?": "string"}',
        '
  "defect": {"category": "paint", "notes": "Scratch on the left front door"}')
) as event (event_type, description, shape, example);

insert into webhook_delivery.capture_rules
    (event_type, table_name, operation, key_column, auction_column, subject_column, suppressed_by_event) values
    ('inspection.created', 'inspections', 'insert', 'id', 'auction_id', null, null),
    ('inspection.defect_added', 'inspection_defects', 'insert', 'id', null, 'inspection_id', 'inspection.created');

insert into webhook_delivery.required_tables (source_table, table_name, columns) values
    ('inspections', 'inspections',
        '{id uuid,auction_id uuid,location_id uuid,user_id uuid,vin_number text,barcode text,submitted_at timestamptz}'),
    ('inspections', 'inspection_defects', '{id uuid,inspection_id uuid,category text,notes text,position numeric}'),
    ('inspections', 'locations', '{id uuid,name text}'),
    ('inspections', 'users', '{id uuid,full_name text}');

insert into webhook_delivery.payload_queries (event_type, source_table, query)
select event_type, 'inspections', $query$
    select inspection.id, inspection.auction_id,
        case @event@
            when 'inspection.created' then row_to_json(told)
            else (select row_to_json(more) from (
                select told.*, json_build_object('category', added.category, 'notes', added.notes) as defect) as more)
        end as data
    from @changed@
    left join lateral (
        select * from @inspection_defects@ as defect
        where @event@ = 'inspection.defect_added' and defect.id = changed.id limit 1
    ) as added on true
    cross join lateral (
        select * from @inspections@ as inspections
        where inspections.id = case @event@ when 'inspection.created' then changed.id else added.inspection_id end limit 1
    ) as inspection
    cross join lateral (
        select count(*) as number,
            json_agg(json_build_object('category', defect.category, 'notes', defect.notes) order by defect.position, defect.id) as list
        from @inspection_defects@ as defect
        where defect.inspection_id = inspection.id
    ) as found
    cross join lateral (
        select inspection.id, inspection.location_id,
            (select location.name from @locations@ as location where location.id = inspection.location_id) as location_name,
            inspection.user_id,
            (select inspector.full_name from @users@ as inspector where inspector.id = inspection.user_id) as inspector_name,
            inspection.vin_number, inspection.barcode,
            to_char(timezone('UTC', inspection.submitted_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as submitted_at,
            found.number as defect_count,
            coalesce(found.list, '[]') as defects
    ) as told
    order by changed.position
$query$
from unnest('{inspection.created,inspection.defect_added}'::text[]) as event_type;
