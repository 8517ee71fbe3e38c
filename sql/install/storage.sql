-- Events, the log of attempts, dead letters, and what the worker remembers.

create table webhook_delivery.events (
    id uuid not null,
    auction_id uuid not null,
    event_type text not null,
    occurred_at timestamptz not null,
    row_id uuid,
    data json not null
) partition by range (id);

comment on table webhook_delivery.events is
    'What happened, written once in the transaction that caused it. Partitioned by day through the time in its id (uuid version 7)';
comment on column webhook_delivery.events.id is 'Time-ordered identifier';
comment on column webhook_delivery.events.auction_id is 'The auction in which it happened';
comment on column webhook_delivery.events.event_type is 'What happened: submission.created';
comment on column webhook_delivery.events.occurred_at is 'When; "timestamp" in the body';
comment on column webhook_delivery.events.row_id is 'The row that it is about; null where there is none. Events of one row are sent one after the other';
comment on column webhook_delivery.events.data is '"data" in the body, byte for byte: json, because jsonb would reorder its keys';

-- The key is on each partition and not on the parent: pg_dump, which dumps the partitions but not an extension's parent,
-- would else give each a second one and the dump could not be restored.
create table webhook_delivery.events_default partition of webhook_delivery.events (
    constraint event_ids_are_unique primary key (id)
) default;
comment on table webhook_delivery.events_default is 'Takes events for which the worker has made no partition yet, so that no insert ever fails for want of one';

create table webhook_delivery.attempts (
    delivery_id uuid not null,
    attempt smallint not null,
    auction_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    delivery_status text not null,
    response_status_code smallint,
    response_time_ms integer,
    error_message text,
    response_excerpt text,
    is_test boolean not null default false,
    attempted_at timestamptz not null,
    next_attempt_at timestamptz,
    created_at timestamptz not null,
    lookup_ms integer,
    connect_ms integer,
    tls_ms integer,
    first_byte_ms integer,
    address inet,
    constraint only_a_retrying_delivery_has_a_next_attempt check ((delivery_status = 'retrying') = (next_attempt_at is not null)),
    constraint success_has_no_error_and_failure_has_one check ((delivery_status = 'success') = (error_message is null))
) partition by list (delivery_status);

comment on table webhook_delivery.attempts is
    'Every request made. A row is written once; only to send a delivery again and to expunge data changes one. The row that ended a delivery has the status success or failed. Partitioned by that, and then by the day on which the delivery was queued';
comment on column webhook_delivery.attempts.delivery_id is 'The webhook_id';
comment on column webhook_delivery.attempts.attempt is '1 for the first request of a delivery';
comment on column webhook_delivery.attempts.auction_id is 'The auction of event and endpoint';
comment on column webhook_delivery.attempts.endpoint_id is 'Where the request went';
comment on column webhook_delivery.attempts.event_id is 'What it carried';
comment on column webhook_delivery.attempts.event_type is 'The type of that event';
comment on column webhook_delivery.attempts.delivery_status is 'What became of the delivery by this attempt: retrying (also where it was sent again after its end), success or failed';
comment on column webhook_delivery.attempts.response_status_code is 'HTTP status, null where no response came';
comment on column webhook_delivery.attempts.response_time_ms is 'Milliseconds from the start of the request to its end; null where none was made';
comment on column webhook_delivery.attempts.error_message is 'Why the attempt failed, for the customer to read; sent again: of one that had succeeded, whose delivery was sent again';
comment on column webhook_delivery.attempts.response_excerpt is 'The beginning of the response of a failed attempt, at most 1 kB';
comment on column webhook_delivery.attempts.is_test is 'Sent by test_webhook()';
comment on column webhook_delivery.attempts.attempted_at is 'When the request started';
comment on column webhook_delivery.attempts.next_attempt_at is 'When the next attempt was due';

comment on column webhook_delivery.attempts.created_at is 'When the delivery was queued, as its id has it';
comment on column webhook_delivery.attempts.lookup_ms is 'Of the time, milliseconds for the look-up of the name; null where none was made, as for the following two: over an open connection';
comment on column webhook_delivery.attempts.connect_ms is 'For the TCP connection';
comment on column webhook_delivery.attempts.tls_ms is 'For the TLS handshake';
comment on column webhook_delivery.attempts.first_byte_ms is 'From the start of the request until the header of the response was there; null where none came';
comment on column webhook_delivery.attempts.address is 'Who was called; null where the name had no address, or none that is allowed';

-- What pages of the history read: one row for each delivery that has ended.
create table webhook_delivery.attempts_ended partition of webhook_delivery.attempts (
    -- Tells the planner what the partition's bounds do not: nothing that is still to be sent is here.
    constraint delivery_status_is_success_or_failed check (delivery_status in ('success', 'failed'))
) for values in ('success', 'failed') partition by range (delivery_id);
comment on table webhook_delivery.attempts_ended is 'Attempts that ended their delivery';

create table webhook_delivery.attempts_ended_default partition of webhook_delivery.attempts_ended (
    constraint deliveries_end_once primary key (delivery_id, attempt)
) default;
-- Newest first: of one endpoint, of one auction, of all that a caller may see; and of these the few that failed. An endpoint's
-- are counted by status, which then is read from the index alone.
create index ended_by_endpoint on webhook_delivery.attempts_ended_default (endpoint_id, created_at) include (auction_id, delivery_status);
create index ended_by_auction on webhook_delivery.attempts_ended_default (auction_id, created_at);
create index ended_by_time on webhook_delivery.attempts_ended_default (created_at);
create index failed_by_endpoint on webhook_delivery.attempts_ended_default (endpoint_id, created_at) where delivery_status = 'failed';
create index failed_by_time on webhook_delivery.attempts_ended_default (created_at) where delivery_status = 'failed';
comment on table webhook_delivery.attempts_ended_default is 'Takes attempts for which the worker has made no partition yet';

create table webhook_delivery.attempts_retried partition of webhook_delivery.attempts
    for values in ('retrying') partition by range (delivery_id);
comment on table webhook_delivery.attempts_retried is 'Attempts after which there is to be another';

create table webhook_delivery.attempts_retried_default partition of webhook_delivery.attempts_retried (
    constraint attempts_are_numbered_within_a_delivery primary key (delivery_id, attempt)
) default;
create index retried_by_endpoint on webhook_delivery.attempts_retried_default (endpoint_id, created_at);
comment on table webhook_delivery.attempts_retried_default is 'Takes attempts for which the worker has made no partition yet';

-- What the worker gives record.sql and record_carefully.sql: one array of rows instead of an array for each column, which takes
-- half the time.
create type webhook_delivery.outcome as (
    due_at timestamptz,
    delivery_id uuid,
    attempt smallint,
    auction_id uuid,
    endpoint_id uuid,
    event_id uuid,
    event_type text,
    delivery_status text,
    response_status_code smallint,
    response_time_ms integer,
    error_message text,
    response_excerpt text,
    is_test boolean,
    attempted_at timestamptz,
    next_attempt_at timestamptz,
    keeps_position boolean,
    lookup_ms integer,
    connect_ms integer,
    tls_ms integer,
    first_byte_ms integer,
    address inet,
    created_at timestamptz
);
revoke all on type webhook_delivery.outcome from public;

comment on type webhook_delivery.outcome is
    'A finished attempt: the row of the log that it becomes, due_at of its row in the queue, and whether that keeps its place there until next_attempt_at';

create table webhook_delivery.capture_errors (
    id bigint generated always as identity,
    occurred_at timestamptz not null default pg_catalog.clock_timestamp(),
    event_type text not null,
    schema_name name,
    row_ids uuid[] not null,
    previous_rows json[],
    table_name name,
    auction_ids uuid[],
    data json[],
    error_code text not null,
    error_message text not null,
    detail text,
    hint text,
    context text,
    recaptures_left smallint not null default 0,
    constraint capture_error_ids_are_unique primary key (id)
);

-- What is captured again by itself.
create index capture_errors_for_a_lock on webhook_delivery.capture_errors (id) where recaptures_left > 0;

comment on table webhook_delivery.capture_errors is
    'Events that could not be built. The transaction that caused them was committed without them (webhook_delivery.on_capture_error = warn). webhook_delivery.recapture(id) sends them after all; those with recaptures_left are captured again by themselves';
comment on column webhook_delivery.capture_errors.id is 'Counts up; what recapture() takes';
comment on column webhook_delivery.capture_errors.occurred_at is 'When it happened; "timestamp" in the body when the event is captured again';
comment on column webhook_delivery.capture_errors.event_type is 'The event that was not sent';
comment on column webhook_delivery.capture_errors.row_ids is 'Keys of the rows whose event it was; empty where the trigger could not read them, and null within it of a row of row_event() without a key';
comment on column webhook_delivery.capture_errors.schema_name is 'The schema of the table whose rows they are';
comment on column webhook_delivery.capture_errors.previous_rows is 'The rows as they were before the transaction, where the event carries that; JSON null where there was none, null where it could not be kept';
comment on column webhook_delivery.capture_errors.table_name is 'Of row_event(): the table';
comment on column webhook_delivery.capture_errors.auction_ids is 'Of row_event() and emit(): the auction of each event, null where the trigger did not find its column; null for other events, whose rows are read again';
comment on column webhook_delivery.capture_errors.data is 'Of row_event() and emit(): the data of each event; null where it could not be kept';
comment on column webhook_delivery.capture_errors.error_code is 'SQLSTATE';
comment on column webhook_delivery.capture_errors.error_message is 'Message of the error. Where a transaction has very many different ones, further rows join the last';
comment on column webhook_delivery.capture_errors.detail is 'Its DETAIL';
comment on column webhook_delivery.capture_errors.hint is 'Its HINT';
comment on column webhook_delivery.capture_errors.context is 'In which functions and statements it happened';
comment on column webhook_delivery.capture_errors.recaptures_left is 'How often the events are still captured again by themselves, because a lock was in the way: 3 times, and 3 more each time the lock still is. 0: that is for recapture() to do';

create table webhook_delivery.slow_endpoints (
    endpoint_id uuid not null,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    constraint an_endpoint_is_slow_once primary key (endpoint_id)
);

comment on table webhook_delivery.slow_endpoints is
    'Endpoints whose last request came near its time limit: they share a quarter of the requests in flight. Kept so that the next worker, after a failover too, need not find out by being held up';
comment on column webhook_delivery.slow_endpoints.endpoint_id is 'The endpoint';
comment on column webhook_delivery.slow_endpoints.since is 'When that was seen first';

create function webhook_delivery.revoke_from_others(only_relation regclass default null, but_not oid[] default '{}') returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    opened record;
begin
    for opened in
        with member as (
            select classid, objid from pg_depend
            where deptype = 'e' and refclassid = 'pg_extension'::regclass
                and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')
                and objid <> all (but_not)
        ), object as (
            select 'schema' as kind, oid::regnamespace::text as name, nspacl as acl, nspowner as owner
            from pg_namespace
            where nspname = 'webhook_delivery' and only_relation is null
            union all
            select 'table', oid::regclass::text, relacl, relowner
            from pg_class
            where oid = only_relation
                or only_relation is null and oid in (select objid from member where classid = 'pg_class'::regclass)
            union all
            -- A routine without privileges of its own is everybody's.
            select 'routine', oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner
            from pg_proc
            where only_relation is null and oid in (select objid from member where classid = 'pg_proc'::regclass)
        )
        select distinct object.kind, object.name,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee
        from object, aclexplode(object.acl) as acl
        where acl.grantee <> object.owner
    loop
        execute format('revoke all on %s %s from %s', opened.kind, opened.name, opened.grantee);
    end loop;
end
$$;

comment on function webhook_delivery.revoke_from_others(regclass, oid[]) is
    'Takes back what ALTER DEFAULT PRIVILEGES gave to others: on everything of the extension but these objects, or on one relation';

create function webhook_delivery.tenant_routines() returns oid[]
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select array_agg(oid) from pg_catalog.pg_proc
    where pronamespace = 'webhook_delivery'::regnamespace and proname in (
            'administered_auctions', 'diagnose_failure', 'auctions_of_member', 'begin_rotation', 'cancel', 'check_endpoint_events', 'count_queue', 'diagnose_endpoint', 'expunge',
            'is_operator', 'iso_time', 'named_auctions', 'normal_url', 'queue_test',
            'refuse_unknown_delivery', 'refuse_unknown_endpoint', 'replay', 'redeliver', 'redeliver_visible', 'request_of',
            'show_generated_secret', 'speaks_for_every_auction', 'uuid_v7',
            'uuid_v7_time', 'visible_auction')
        or pronamespace = 'public'::regnamespace
            and oid in (
                select member.objid from pg_catalog.pg_depend as member
                join pg_catalog.pg_extension as extension
                    on member.refclassid = 'pg_extension'::regclass and member.refobjid = extension.oid and member.deptype = 'e'
                where member.classid = 'pg_proc'::regclass and extension.extname = 'webhook_delivery')
    $$;

comment on function webhook_delivery.tenant_routines() is
    'The functions that a tenant''s own statements call: all that are in public, and of the private schema those in row-level security, views, defaults and what runs with the tenant''s rights';

-- The partitions that the worker makes are no members of the extension: pg_dump carries them as they are.
select pg_catalog.pg_extension_config_dump('webhook_delivery.events_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_ended_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_retried_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors_id_seq', '');
