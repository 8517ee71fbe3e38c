-- Where do events, deliveries under way and attempts lie?

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

create table webhook_delivery.queue (
    due_at timestamptz not null,
    delivery_id uuid not null,
    auction_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    attempts smallint not null default 0,
    is_test boolean not null default false,
    is_parked boolean not null default false,
    not_before timestamptz,
    response_status_code smallint,
    response_time_ms integer,
    error_message text,
    attempted_at timestamptz,
    earlier_attempts smallint not null default 0,
    constraint earlier_attempts_are_among_the_attempts check (earlier_attempts between 0 and attempts)
) partition by list (is_parked);

comment on table webhook_delivery.queue is
    'Deliveries still to be made. A row is deleted when its delivery ends; which of them are under way only the worker knows. Partitioned by whether the delivery is parked';
comment on column webhook_delivery.queue.due_at is 'When the next attempt may start; -infinity: it is cancelled, and the worker is to end it. The key begins with it: a million retries of tomorrow cost today nothing';
comment on column webhook_delivery.queue.delivery_id is 'The webhook_id: the same in every attempt';
comment on column webhook_delivery.queue.auction_id is 'The auction of event and endpoint';
comment on column webhook_delivery.queue.endpoint_id is 'Where it goes';
comment on column webhook_delivery.queue.event_id is 'What it carries';
comment on column webhook_delivery.queue.event_type is 'The type of that event';
comment on column webhook_delivery.queue.attempts is 'Attempts made so far';
comment on column webhook_delivery.queue.earlier_attempts is 'Of these, those made before it was sent again: its schedule has begun anew after them';
comment on column webhook_delivery.queue.is_test is 'Sent by test_webhook(): one attempt, also to a disabled endpoint';
comment on column webhook_delivery.queue.is_parked is 'Whether it waits for longer than a minute: the worker has moved it to queue_parked';
comment on column webhook_delivery.queue.not_before is 'When the next attempt may start, of a delivery that failed and keeps its place in due_at, because its endpoint is ordered: the others wait behind it';
comment on column webhook_delivery.queue.response_status_code is 'Of the last attempt; like the three that follow here rather than looked up in the log, so that the history is read without a join';
comment on column webhook_delivery.queue.response_time_ms is 'Of the last attempt';
comment on column webhook_delivery.queue.error_message is 'Of the last attempt';
comment on column webhook_delivery.queue.attempted_at is 'When the last attempt started';

create table webhook_delivery.queue_recent partition of webhook_delivery.queue (
    constraint deliveries_are_queued_once_per_time primary key (due_at, delivery_id)
) for values in (false) with (
    -- Every row is deleted soon after it is written: vacuum by count, not by a share of a table that is nearly empty.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0
);
comment on table webhook_delivery.queue_recent is
    'Deliveries that are not parked. Most are made within milliseconds of being queued, so a row has a single index entry';

create table webhook_delivery.queue_parked partition of webhook_delivery.queue (
    constraint deliveries_are_parked_once_per_time primary key (due_at, delivery_id)
) for values in (true) with (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0.05
);
create index parked_by_event on webhook_delivery.queue_parked (event_id);
-- For the history: one delivery, and the newest of an endpoint, of an auction and of all. Every uuid has such a time, so the function
-- says nothing of a row that row-level security hides, and may look for a time in an index before.
alter function webhook_delivery.uuid_v7_time(uuid) leakproof;
create index parked_by_id on webhook_delivery.queue_parked (delivery_id);
create index parked_by_endpoint on webhook_delivery.queue_parked (endpoint_id, webhook_delivery.uuid_v7_time(delivery_id));
create index parked_by_auction on webhook_delivery.queue_parked (auction_id, webhook_delivery.uuid_v7_time(delivery_id));
create index parked_by_time on webhook_delivery.queue_parked (webhook_delivery.uuid_v7_time(delivery_id));
comment on table webhook_delivery.queue_parked is
    'Deliveries that wait for longer than a minute: for another attempt, or for an endpoint that does not receive. However many they are, those in queue_recent do not pay for them, and the history finds them by index';

create table webhook_delivery.parked_counts (
    endpoint_id uuid not null,
    auction_id uuid not null,
    is_test boolean not null,
    deliveries bigint not null,
    due bigint not null,
    oldest_due_at timestamptz,
    next_attempt_at timestamptz,
    constraint parked_deliveries_are_counted_once primary key (endpoint_id, auction_id, is_test)
);

comment on table webhook_delivery.parked_counts is
    'How many deliveries are parked, counted by the worker once a minute while there are very many. Empty otherwise: then whoever asks counts them';
comment on column webhook_delivery.parked_counts.endpoint_id is 'Where they go';
comment on column webhook_delivery.parked_counts.auction_id is 'The auction of events and endpoint';
comment on column webhook_delivery.parked_counts.is_test is 'Sent by test_webhook()';
comment on column webhook_delivery.parked_counts.deliveries is 'How many';
comment on column webhook_delivery.parked_counts.due is 'Of these, those whose time had come';
comment on column webhook_delivery.parked_counts.oldest_due_at is 'When the oldest of those was due';
comment on column webhook_delivery.parked_counts.next_attempt_at is 'When the next attempt may start';

-- As whoever calls it. A function, because the planner would take the view for as expensive as the counting that it seldom does.
create function webhook_delivery.count_queue(parked boolean) returns table (
    endpoint_id uuid, auction_id uuid, is_test boolean, deliveries bigint, due bigint, oldest_due_at timestamptz, next_attempt_at timestamptz)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    set jit = off
    as $$
begin
    return query
        select
            queue.endpoint_id,
            queue.auction_id,
            queue.is_test,
            count(*),
            count(*) filter (where coalesce(queue.not_before, queue.due_at) <= now() and queue.due_at > '-infinity'),
            min(queue.due_at) filter (where coalesce(queue.not_before, queue.due_at) <= now() and queue.due_at > '-infinity'),
            min(nullif(coalesce(queue.not_before, queue.due_at), '-infinity'))
        from webhook_delivery.queue
        where queue.is_parked = count_queue.parked
        group by queue.endpoint_id, queue.auction_id, queue.is_test;
end
$$;

comment on function webhook_delivery.count_queue(boolean) is
    'Counts the deliveries that are still to be made, those that are parked or the others, as queue_counts has them';

create view webhook_delivery.queue_counts with (security_invoker) as
    select endpoint_id, auction_id, is_test, deliveries, due, oldest_due_at, next_attempt_at
    from webhook_delivery.parked_counts
    union all
    select endpoint_id, auction_id, is_test, deliveries, due, oldest_due_at, next_attempt_at
    from webhook_delivery.count_queue(parked => false)
    union all
    select endpoint_id, auction_id, is_test, deliveries, due, oldest_due_at, next_attempt_at
    from webhook_delivery.count_queue(parked => true)
    where not exists (select from webhook_delivery.parked_counts);

comment on view webhook_delivery.queue_counts is
    'How many deliveries are still to be made. An endpoint can have several rows: add them up. Of very many parked deliveries the number is up to a minute old';
comment on column webhook_delivery.queue_counts.endpoint_id is 'Where they go';
comment on column webhook_delivery.queue_counts.auction_id is 'The auction of events and endpoint';
comment on column webhook_delivery.queue_counts.is_test is 'Sent by test_webhook()';
comment on column webhook_delivery.queue_counts.deliveries is 'How many';
comment on column webhook_delivery.queue_counts.due is 'Of these, those whose time has come; not those that are cancelled';
comment on column webhook_delivery.queue_counts.oldest_due_at is 'When the oldest of those was due';
comment on column webhook_delivery.queue_counts.next_attempt_at is 'When the next attempt may start; null where all are cancelled';

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
-- Newest first: of one endpoint, of one auction, of all that somebody may see; and of these the few that failed. An endpoint's
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
    'Events that could not be built. The transaction that caused them was committed without them (webhook_delivery.on_capture_error = warn). webhook_delivery.capture_again(id) sends them after all; those with recaptures_left are captured again by themselves';
comment on column webhook_delivery.capture_errors.id is 'Counts up; what capture_again() takes';
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
comment on column webhook_delivery.capture_errors.recaptures_left is 'How often the events are still captured again by themselves, because a lock was in the way: 3 times, and 3 more each time the lock still is. 0: that is for capture_again() to do';

create table webhook_delivery.slow_endpoints (
    endpoint_id uuid not null,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    constraint an_endpoint_is_slow_once primary key (endpoint_id)
);

comment on table webhook_delivery.slow_endpoints is
    'Endpoints whose last request came near its time limit: they share a quarter of the requests under way. Kept so that the next worker, after a failover too, need not find out by being held up';
comment on column webhook_delivery.slow_endpoints.endpoint_id is 'The endpoint';
comment on column webhook_delivery.slow_endpoints.since is 'When that was seen first';

create table webhook_delivery.homes (
    system_identifier bigint not null,
    database_oid oid not null,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    paused_at timestamptz,
    pause_reason text,
    restore_id text not null default '',
    constraint a_home_is_named_once primary key (system_identifier, database_oid, restore_id)
);

comment on table webhook_delivery.homes is
    'Where the rows of this extension have lived. A copy of the database, what a dump brings, or a restored backup of the server has the original''s home, and so nothing is sent from it until webhook_delivery.resume()';
comment on column webhook_delivery.homes.system_identifier is 'The server''s, as pg_control_system() gives it';
comment on column webhook_delivery.homes.database_oid is 'The database''s, as pg_database has it';
comment on column webhook_delivery.homes.since is 'When the first endpoint was created there, or resume() was called';
comment on column webhook_delivery.homes.paused_at is 'When webhook_delivery.pause() was called; null while it sends';
comment on column webhook_delivery.homes.pause_reason is 'Why, as whoever called it said';
comment on column webhook_delivery.homes.restore_id is 'The last restore of the server''s files from a backup, as restore_id() gives it; empty where there was none';

create view webhook_delivery.standing as
    select
        case
            when exists (
                select from webhook_delivery.homes as other
                where (other.system_identifier, other.database_oid, other.restore_id)
                    <> (here.system_identifier, here.database_oid, here.restore_id))
                then 'copied'
            when home.paused_at is not null then 'paused'
            when home.since is not null then 'sending'
            -- Rows without a home: a dump is just being restored, or was restored in part.
            when exists (select from webhook_delivery.endpoint_secrets) then 'copied'
            else 'unused'
        end as standing,
        home.paused_at,
        home.pause_reason
    from (select webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id())
        as here (system_identifier, database_oid, restore_id)
    left join webhook_delivery.homes as home using (system_identifier, database_oid, restore_id);

comment on view webhook_delivery.standing is 'May anything be sent from here? One row; the worker asks before each reading';
comment on column webhook_delivery.standing.standing is
    'sending; paused, by pause(); copied: the rows lived elsewhere before; unused: no endpoint was created here yet';
comment on column webhook_delivery.standing.paused_at is 'When pause() was called';
comment on column webhook_delivery.standing.pause_reason is 'Why';

-- In PL/pgSQL, like what else is called for every endpoint that is created: a function in SQL would be planned each time.
create function webhook_delivery.move_in() returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into webhook_delivery.homes (system_identifier, database_oid, restore_id)
    select webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id()
    from webhook_delivery.standing
    where standing = 'unused' and not exists (select from webhook_delivery.queue)
    on conflict do nothing;
end
$$;

comment on function webhook_delivery.move_in() is
    'Makes this database the home of the extension''s rows, if they are none yet: called when an endpoint is created, and never while a dump is restored';

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
            'administered_auctions', 'advice', 'auctions_of_member', 'begin_rotation', 'cancel', 'check_endpoint_events', 'count_queue', 'examine', 'expunge',
            'is_operator', 'iso_time', 'named_auctions', 'normal_url', 'queue_test',
            'refuse_unknown_delivery', 'refuse_unknown_endpoint', 'replay', 'request_of', 'resend', 'resend_visible',
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
    'The functions that a tenant''s own statements call: all that are in public, and of the private schema those in row-level security, views, defaults and what runs in his name';

-- The partitions that the worker makes are no members of the extension: pg_dump carries them as they are.
select pg_catalog.pg_extension_config_dump('webhook_delivery.events_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_ended_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.attempts_retried_default', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_recent', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_parked', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.homes', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.capture_errors_id_seq', '');
