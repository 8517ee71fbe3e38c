-- Tables that define event families: which changes of which tables make which event, and how the
-- data of the event is read. Each family is a file in sql/families/ that inserts rows into these
-- tables.

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
    'Changes of the application''s tables that make events; install_triggers() creates a trigger for each row';
comment on column webhook_delivery.capture_rules.event_type is 'Type of the event';
comment on column webhook_delivery.capture_rules.table_name is 'Table of the application';
comment on column webhook_delivery.capture_rules.operation is 'Operation on the table: insert, update or delete';
comment on column webhook_delivery.capture_rules.changed_column is 'Only column whose change makes the event; null if every change makes it. For a new row the column changes from null. The trigger function compares the values itself, because a WHEN condition that names the column would keep the application from changing the column''s type';
comment on column webhook_delivery.capture_rules.key_column is 'Column with the key of the row for which the payload is read; a transaction makes one event for each key';
comment on column webhook_delivery.capture_rules.auction_column is 'Column with the auction of the row; null if another table has it';
comment on column webhook_delivery.capture_rules.subject_column is 'Column with the key of the row that the event is about, if that is not the row of key_column: the inspection of a defect';
comment on column webhook_delivery.capture_rules.suppressed_by_event is 'Type of the event that makes this one superfluous if it is about the same row in the same transaction: a row that is created is not also updated';
comment on column webhook_delivery.capture_rules.include_previous is 'Whether the payload needs the row as it was before the transaction';

create table webhook_delivery.payload_queries (
    event_type text not null,
    source_table name not null,
    query text not null,
    previous_columns name[] not null default '{}',
    constraint an_event_has_one_payload primary key (event_type)
);

comment on table webhook_delivery.payload_queries is
    'Queries that read the data of each event from the application''s tables. They run with the rights of the owner of source_table';
comment on column webhook_delivery.payload_queries.event_type is 'Type of the event';
comment on column webhook_delivery.payload_queries.source_table is 'Table with the rows that the event is about';
comment on column webhook_delivery.payload_queries.query is
    'Query that returns id (of the row that the event is about), auction_id and data, in the order of the keys, for those rows for which there is an event. @changed@ stands for the rows, named changed: id (the key), previous (the row as it was before the transaction: json, null if not kept), position; $3 is the time at which the event happened; @submissions@, for example, stands for that table of the application, with its schema (on a node of Citus, for its shard), and @event@ for the event type: as a constant, so that the planner drops what belongs to other event types';
comment on column webhook_delivery.payload_queries.previous_columns is 'Columns that the query reads of the row as it was before the transaction. previous has no other columns, so that a value that the event does not carry cannot keep it from being built';

create table webhook_delivery.required_tables (
    source_table name not null,
    table_name name not null,
    columns text[] not null,
    constraint a_payload_needs_a_table_once primary key (source_table, table_name)
);

comment on table webhook_delivery.required_tables is 'Contract with the application: columns of its tables that payload queries read';
comment on column webhook_delivery.required_tables.source_table is 'Table whose changes are captured, and with the rights of whose owner table_name is read';
comment on column webhook_delivery.required_tables.table_name is 'Table that is read for the payloads of source_table';
comment on column webhook_delivery.required_tables.columns is 'Columns that are read, with their types';

create table webhook_delivery.payload_functions (
    event_type text not null,
    schema_name name not null,
    table_name name not null,
    function_name text not null,
    arguments text not null,
    constraint an_event_has_one_payload_function primary key (event_type)
);

create trigger payload_functions_announce_changes after insert or update or delete or truncate on webhook_delivery.payload_functions
    for each statement execute function webhook_delivery.announce_change();
-- The trigger also fires when a subscriber of logical replication or a restore writes.
alter table webhook_delivery.payload_functions enable always trigger payload_functions_announce_changes;

comment on table webhook_delivery.payload_functions is
    'Functions of the application that return the data of an event in place of the built-in payload query; see set_payload_function()';
comment on column webhook_delivery.payload_functions.event_type is 'Type of the event';
comment on column webhook_delivery.payload_functions.schema_name is 'Schema of the table with the rows that the event is about';
comment on column webhook_delivery.payload_functions.table_name is 'Table with these rows; the function runs with the rights of its owner';
comment on column webhook_delivery.payload_functions.function_name is 'Name of the function, quoted as an SQL identifier';
comment on column webhook_delivery.payload_functions.arguments is 'Arguments of the call: $1 or $1, $2';

select pg_catalog.pg_extension_config_dump('webhook_delivery.payload_functions', '');
