-- Which events are there to subscribe to, and what does each look like?

do $$
begin
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'webhook_delivery needs a database in UTF8, this one is in ' || pg_catalog.current_setting('server_encoding'),
            hint = 'Bodies are JSON, and JSON is UTF-8. Create the database with: create database … encoding ''UTF8'' template template0.';
    end if;
end
$$;

create table @extschema@.webhook_event_types (
    event_type text not null,
    description text not null,
    example json not null,
    is_builtin boolean not null default false,
    constraint event_types_are_unique primary key (event_type),
    constraint event_type_is_family_dot_what_happened check (event_type ~ '^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$'),
    constraint description_is_at_most_1000_characters check (length(description) <= 1000)
);

comment on table @extschema@.webhook_event_types is
    'The events that an endpoint can subscribe to. Add a row to make an event of your own known; webhook_delivery.emit() then accepts it.';
comment on column @extschema@.webhook_event_types.event_type is 'Family and what happened, in lower case: submission.created';
comment on column @extschema@.webhook_event_types.description is 'When the event happens, in a sentence for customers';
comment on column @extschema@.webhook_event_types.example is 'Example of the "data" of the event''s body; test_webhook() sends it';
comment on column @extschema@.webhook_event_types.is_builtin is 'Came with the extension; rows of your own have false and are carried by pg_dump';

insert into @extschema@.webhook_event_types (event_type, description, example, is_builtin) values
    ('submission.created', 'A team member submits a lot count', '{
  "id": "7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601",
  "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03",
  "location_name": "North Lot",
  "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04",
  "submitted_by": "Dana Reyes",
  "submitted_at": "2026-01-15T14:30:00Z",
  "entries": [
    {"type_id": "e0b4c2a6-3d18-4f59-8c71-2a6b9d0e4f05", "type_name": "Sedan", "car_count": 42, "image_url": null},
    {"type_id": "f1c5d3b7-4e29-4a6a-9d82-3b7c0e1f5a06", "type_name": "Truck", "car_count": 17, "image_url": null}
  ],
  "total_car_count": 59,
  "image_url": null
}', true),
    ('submission.updated', 'A submitted lot count is edited; entries added, changed or removed count as an edit', '{
  "id": "7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601",
  "location_id": "c1a7d3f2-0e64-4a35-8b6e-5f0f7a1d2b03",
  "location_name": "North Lot",
  "user_id": "5d9e1c8b-6f3a-4c27-a1b0-9e8d7c6b5a04",
  "submitted_by": "Dana Reyes",
  "submitted_at": "2026-01-15T14:30:00Z",
  "entries": [
    {"type_id": "e0b4c2a6-3d18-4f59-8c71-2a6b9d0e4f05", "type_name": "Sedan", "car_count": 44, "image_url": null},
    {"type_id": "f1c5d3b7-4e29-4a6a-9d82-3b7c0e1f5a06", "type_name": "Truck", "car_count": 17, "image_url": null}
  ],
  "total_car_count": 61,
  "image_url": null
}', true);

select pg_catalog.pg_extension_config_dump('@extschema@.webhook_event_types', 'where not is_builtin');
