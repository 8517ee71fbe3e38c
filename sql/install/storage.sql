-- Tables of events, attempts and dead letters, and of endpoints that the worker knows to be slow.

create table webhook_delivery.events (
    id uuid not null,
    auction_id uuid not null,
    event_type text not null,
    occurred_at timestamptz not null,
    row_id uuid,
    data json not null
) partition by range (id);

comment on table webhook_delivery.events is
    'Events, each written once in the transaction that caused it. Partitioned by the time in the id (uuid version 7), by default a day each';
comment on column webhook_delivery.events.id is 'Time-ordered identifier of the event';
comment on column webhook_delivery.events.auction_id is 'Auction in which the event happened';
comment on column webhook_delivery.events.event_type is 'Type of the event: submission.created';
comment on column webhook_delivery.events.occurred_at is 'Time at which the event happened; "timestamp" in the body';
comment on column webhook_delivery.events.row_id is 'Row that the event is about; null if there is none. Events of one row are sent one after the other';
comment on column webhook_delivery.events.data is '"data" in the body, byte for byte: json, because jsonb would reorder its keys';

-- Each partition has its own key, and the parent has none. pg_dump dumps the partitions but not an
-- extension's parent: with a key of the parent it would give each partition a second one, and the
-- dump could not be restored.
create table webhook_delivery.events_default partition of webhook_delivery.events (
    constraint event_ids_are_unique primary key (id)
) default;
comment on table webhook_delivery.events_default is 'Events for which the worker has created no partition yet, so that no insert ever fails for lack of one';

create table webhook_delivery.attempts (
    delivery_id uuid not null,
    attempt smallint not null,
    auction_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    is_last boolean not null,
    status public.webhook_delivery_status not null,
    response_status_code smallint,
    response_time_ms integer,
    error_kind public.webhook_error_kind,
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
    constraint the_last_attempt_has_no_next_one check (is_last = (next_attempt_at is null)),
    constraint an_attempt_succeeds_or_fails check (status in ('success', 'failed')),
    constraint success_has_no_error_and_failure_has_one check ((status = 'success') = (error_kind is null) and (error_kind is null) = (error_message is null))
) partition by list (is_last);

comment on table webhook_delivery.attempts is
    'Attempts: every request made. A row is written once; only sending a delivery again and expunging data change one. Partitioned by whether the attempt is the last of its delivery, and then by the time at which the delivery was queued, by default a day each';
comment on column webhook_delivery.attempts.delivery_id is 'Delivery that the attempt belongs to: the webhook_id';
comment on column webhook_delivery.attempts.attempt is 'Number of the attempt: 1 for the first request of a delivery';
comment on column webhook_delivery.attempts.auction_id is 'Auction of the event and of the endpoint';
comment on column webhook_delivery.attempts.endpoint_id is 'Endpoint to which the request was sent';
comment on column webhook_delivery.attempts.event_id is 'Event that the request carried';
comment on column webhook_delivery.attempts.event_type is 'Type of that event';
comment on column webhook_delivery.attempts.is_last is 'Whether the attempt ended its delivery; false once the delivery is sent again';
comment on column webhook_delivery.attempts.status is 'success or failed';
comment on column webhook_delivery.attempts.response_status_code is 'HTTP status of the response; null if none came';
comment on column webhook_delivery.attempts.response_time_ms is 'Milliseconds from the start of the request to its end; null if no request was made';
comment on column webhook_delivery.attempts.error_kind is 'Reason why the attempt failed, for programs; null after a success';
comment on column webhook_delivery.attempts.error_message is 'Reason why the attempt failed, for people; null after a success';
comment on column webhook_delivery.attempts.response_excerpt is 'Beginning of the response of a failed attempt, at most 1 kB';
comment on column webhook_delivery.attempts.is_test is 'Whether test_webhook() sent the delivery';
comment on column webhook_delivery.attempts.attempted_at is 'Time at which the request started';
comment on column webhook_delivery.attempts.next_attempt_at is 'Time at which the next attempt was due';

comment on column webhook_delivery.attempts.created_at is 'Time at which the delivery was queued, as in its id';
comment on column webhook_delivery.attempts.lookup_ms is 'Milliseconds of response_time_ms for the look-up of the name; null, like connect_ms and tls_ms, if the request was sent over an open connection';
comment on column webhook_delivery.attempts.connect_ms is 'Milliseconds for the TCP connection';
comment on column webhook_delivery.attempts.tls_ms is 'Milliseconds for the TLS handshake';
comment on column webhook_delivery.attempts.first_byte_ms is 'Milliseconds from the start of the request to the header of the response; null if none came';
comment on column webhook_delivery.attempts.address is 'Address that was called; null if the name had no address, or none that is allowed';

-- Pages of the history read this table: one row for each delivery that has ended.
create table webhook_delivery.attempts_ended partition of webhook_delivery.attempts
    for values in (true) partition by range (delivery_id);
comment on table webhook_delivery.attempts_ended is 'Attempts that ended their delivery';

create table webhook_delivery.attempts_ended_default partition of webhook_delivery.attempts_ended (
    constraint deliveries_end_once primary key (delivery_id, attempt)
) default;
-- Indexes for the newest rows of an endpoint, of an auction, and of all that a caller may see, and
-- for the few of these that failed. An endpoint's deliveries are counted by status from the index
-- alone, which therefore includes the status.
create index ended_by_endpoint on webhook_delivery.attempts_ended_default (endpoint_id, created_at) include (auction_id, status);
create index ended_by_auction on webhook_delivery.attempts_ended_default (auction_id, created_at);
create index ended_by_time on webhook_delivery.attempts_ended_default (created_at);
create index failed_by_endpoint on webhook_delivery.attempts_ended_default (endpoint_id, created_at) where status = 'failed';
create index failed_by_time on webhook_delivery.attempts_ended_default (created_at) where status = 'failed';
comment on table webhook_delivery.attempts_ended_default is 'Attempts for which the worker has created no partition yet';

create table webhook_delivery.attempts_retried partition of webhook_delivery.attempts
    for values in (false) partition by range (delivery_id);
comment on table webhook_delivery.attempts_retried is 'Attempts that another attempt is to follow';

create table webhook_delivery.attempts_retried_default partition of webhook_delivery.attempts_retried (
    constraint attempts_are_numbered_within_a_delivery primary key (delivery_id, attempt)
) default;
create index retried_by_endpoint on webhook_delivery.attempts_retried_default (endpoint_id, created_at);
comment on table webhook_delivery.attempts_retried_default is 'Attempts for which the worker has created no partition yet';

-- Parameter of record.sql and record_carefully.sql: one array of rows takes half the time of an
-- array for each column.
create type webhook_delivery.outcome as (
    due_at timestamptz,
    delivery_id uuid,
    attempt smallint,
    auction_id uuid,
    endpoint_id uuid,
    event_id uuid,
    event_type text,
    response_status_code smallint,
    response_time_ms integer,
    error_kind text,
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
    'Finished attempt: the row of attempts that it becomes, due_at of its row in the queue, and whether that row keeps its position there until next_attempt_at';

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

-- Dead letters that the worker recaptures.
create index capture_errors_for_a_lock on webhook_delivery.capture_errors (id) where recaptures_left > 0;

comment on table webhook_delivery.capture_errors is
    'Dead letters: events that could not be built. The transaction that caused them was committed without them (webhook_delivery.on_capture_error = warn). webhook_delivery.recapture(id) sends them; the worker recaptures those with recaptures_left';
comment on column webhook_delivery.capture_errors.id is 'Ascending identifier; the argument of recapture()';
comment on column webhook_delivery.capture_errors.occurred_at is 'Time at which the events happened; "timestamp" in the body when they are recaptured';
comment on column webhook_delivery.capture_errors.event_type is 'Type of the events that were not sent';
comment on column webhook_delivery.capture_errors.row_ids is 'Keys of the rows of the events; empty if the trigger could not read them. A key is null for a row of row_event() without a key';
comment on column webhook_delivery.capture_errors.schema_name is 'Schema of the table with these rows';
comment on column webhook_delivery.capture_errors.previous_rows is 'Rows as they were before the transaction, if the event carries that; JSON null if there was no row, null if it could not be kept';
comment on column webhook_delivery.capture_errors.table_name is 'Table of row_event(), or with Citus the first of the co-located shards with the rows; null for other events';
comment on column webhook_delivery.capture_errors.auction_ids is 'Auction of each event of row_event() and emit(), null if the trigger did not find its column; null for other events, whose rows are read again';
comment on column webhook_delivery.capture_errors.data is 'Data of each event of row_event() and emit(); null if it could not be kept';
comment on column webhook_delivery.capture_errors.error_code is 'SQLSTATE of the error';
comment on column webhook_delivery.capture_errors.error_message is 'Message of the error. If a transaction has very many different errors, further rows are added to the last one';
comment on column webhook_delivery.capture_errors.detail is 'DETAIL of the error';
comment on column webhook_delivery.capture_errors.hint is 'HINT of the error';
comment on column webhook_delivery.capture_errors.context is 'Functions and statements in which the error occurred';
comment on column webhook_delivery.capture_errors.recaptures_left is 'Number of times that the worker still recaptures the events, because a lock was in the way: 3, and again 3 each time the lock is still in the way. 0: only recapture() sends them';

create table webhook_delivery.slow_endpoints (
    endpoint_id uuid not null,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    constraint an_endpoint_is_slow_once primary key (endpoint_id)
);

comment on table webhook_delivery.slow_endpoints is
    'Endpoints whose last request nearly reached its time limit: they share a quarter of the requests in flight. Stored so that the next worker, also after a failover, knows them without being held up';
comment on column webhook_delivery.slow_endpoints.endpoint_id is 'Slow endpoint';
comment on column webhook_delivery.slow_endpoints.since is 'Time at which the endpoint was first seen to be slow';

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
            -- A routine without an access control list can be executed by PUBLIC.
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
    'Revokes what ALTER DEFAULT PRIVILEGES has granted to others: on every object of the extension except these, or on one relation';

create function webhook_delivery.tenant_routines() returns oid[]
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select array_agg(oid) from pg_catalog.pg_proc
    where pronamespace = 'webhook_delivery'::regnamespace and proname in (
            'administered_auctions', 'auctions_of_member', 'begin_rotation', 'cancel', 'check_period', 'check_endpoint_events', 'count_queue', 'deliveries_of_nodes', 'expunge', 'follow_delivery',
            'is_operator', 'is_rest_call', 'iso_time', 'named_auctions', 'next_attempt_at', 'normal_url', 'preview_filter', 'query_hint', 'queue_test', 'queued_delivery', 'recent_attempts', 'refuse_unknown_event_types', 'closest_name', 'new_endpoint_id', 'take_new_endpoint_id',
            'refuse_unknown_delivery', 'refuse_unknown_endpoint', 'replay', 'redeliver', 'redeliver_visible', 'request_of',
            'show_generated_secret', 'speaks_for_every_auction', 'uuid_v7',
            'uuid_v7_time', 'visible_auction')
        or pronamespace = 'webhook_delivery'::regnamespace and starts_with(proname, 'diagnose_')
        or pronamespace = 'public'::regnamespace
            and oid in (
                select member.objid from pg_catalog.pg_depend as member
                join pg_catalog.pg_extension as extension
                    on member.refclassid = 'pg_extension'::regclass and member.refobjid = extension.oid and member.deptype = 'e'
                where member.classid = 'pg_proc'::regclass and extension.extname = 'webhook_delivery')
    $$;

comment on function webhook_delivery.tenant_routines() is
    'Returns the functions that a tenant''s own statements call: all in public, and those of the private schema in row-level security, views, defaults and functions that run with the tenant''s rights';

-- Partitions that the worker creates are not members of the extension: pg_dump dumps them like
-- other tables.
select pg_catalog.pg_extension_config_dump('webhook_delivery.events_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_ended_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_retried_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors_id_seq', '');
