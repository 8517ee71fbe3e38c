-- What a family of events consists of. Each is a file in sql/families/, which says in rows of these tables whose changes
-- make which event, and how the event's data is read.

create table webhook_delivery.capture_rules (
    event_type text not null,
    table_name name not null,
    operation text not null,
    changed_column name,
    key_column name not null default 'id',
    auction_column name,
    subject_column name,
    suppressed_by_event text,
    include_previous boolean not null default false,
    constraint a_change_makes_an_event_once primary key (event_type, table_name, operation),
    constraint operation_is_insert_update_or_delete check (operation in ('insert', 'update', 'delete'))
);

comment on table webhook_delivery.capture_rules is
    'Which changes of the application''s tables make which event: what install_triggers() makes triggers of';
comment on column webhook_delivery.capture_rules.event_type is 'The event';
comment on column webhook_delivery.capture_rules.table_name is 'The table of the application';
comment on column webhook_delivery.capture_rules.operation is 'insert, update or delete';
comment on column webhook_delivery.capture_rules.changed_column is 'The event is made only where this column changes: from null, where the row is new. The trigger looks for itself, because a WHEN that names a column would keep the application from changing that column''s type';
comment on column webhook_delivery.capture_rules.key_column is 'The row that the payload is read for: one event for each in a transaction';
comment on column webhook_delivery.capture_rules.auction_column is 'Where the row says which auction it is of; null where another table does';
comment on column webhook_delivery.capture_rules.subject_column is 'The row that the event is about, where that is not the one of the key: the inspection of a defect';
comment on column webhook_delivery.capture_rules.suppressed_by_event is 'The event that makes this one needless where it is about the same row in the same transaction: who creates, does not also update';
comment on column webhook_delivery.capture_rules.include_previous is 'Whether the payload needs the row as it was before the transaction';

create table webhook_delivery.payload_queries (
    event_type text not null,
    source_table name not null,
    query text not null,
    previous_columns name[] not null default '{}',
    constraint an_event_has_one_payload primary key (event_type)
);

comment on table webhook_delivery.payload_queries is
    'How the data of each event is read from the application''s tables. It runs with the rights of the owner of source_table';
comment on column webhook_delivery.payload_queries.event_type is 'The event';
comment on column webhook_delivery.payload_queries.source_table is 'The table whose rows the event is about';
comment on column webhook_delivery.payload_queries.query is
    'Gives id (of the row that the event is about), auction_id and data, in the order of the keys, for those rows of which there is something to tell. @changed@ stands for the rows, named changed: id (the key), previous (the row as it was before the transaction: json, null where not kept), position; $3 for when it happened; @application@ stands for the schema of the tables, and @event@ for the event: as a constant, so that what is of other events is not even planned';
comment on column webhook_delivery.payload_queries.previous_columns is 'Columns of the row as it was before the transaction that the query reads: previous has no others, so that what the event does not carry cannot keep it from being built';

create table webhook_delivery.required_tables (
    source_table name not null,
    table_name name not null,
    columns text[] not null,
    constraint a_payload_needs_a_table_once primary key (source_table, table_name)
);

comment on table webhook_delivery.required_tables is 'The contract with the application: which columns of which tables the payloads read';
comment on column webhook_delivery.required_tables.source_table is 'The table whose owner reads, and whose changes are watched';
comment on column webhook_delivery.required_tables.table_name is 'A table that is read for its payloads';
comment on column webhook_delivery.required_tables.columns is 'Its columns, with their types';

create table webhook_delivery.payload_functions (
    event_type text not null,
    schema_name name not null,
    table_name name not null,
    function_name text not null,
    arguments text not null,
    constraint an_event_has_one_payload_function primary key (event_type)
);

create trigger payload_functions_are_remembered after insert or update or delete or truncate on webhook_delivery.payload_functions
    for each statement execute function webhook_delivery.announce_change();
-- Also where a subscriber of logical replication writes, or a restore.
alter table webhook_delivery.payload_functions enable always trigger payload_functions_are_remembered;

comment on table webhook_delivery.payload_functions is
    'Functions of the application that give the data of an event instead of the built-in payload; see set_payload_function()';
comment on column webhook_delivery.payload_functions.event_type is 'The event';
comment on column webhook_delivery.payload_functions.schema_name is 'Schema of the table whose rows the event is about';
comment on column webhook_delivery.payload_functions.table_name is 'The table: the function runs with the rights of its owner';
comment on column webhook_delivery.payload_functions.function_name is 'The function, quoted as SQL needs it';
comment on column webhook_delivery.payload_functions.arguments is 'What it is called with: $1 or $1, $2';

select pg_catalog.pg_extension_config_dump('webhook_delivery.payload_functions', '');
