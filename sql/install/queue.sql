-- The queue: deliveries still to be made.

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
    error_kind public.webhook_error_kind,
    error_message text,
    attempted_at timestamptz,
    earlier_attempts smallint not null default 0,
    end_reason public.webhook_error_kind,
    constraint a_delivery_ends_for_one_of_these_reasons check (end_reason in ('cancelled', 'expired', 'event_deleted')),
    constraint earlier_attempts_are_among_the_attempts check (earlier_attempts between 0 and attempts)
) partition by list (is_parked);

comment on table webhook_delivery.queue is
    'Deliveries still to be made. A row is deleted when its delivery ends; which of them are in flight only the worker knows. Partitioned by whether the delivery is parked';
comment on column webhook_delivery.queue.due_at is 'When the next attempt may start. The key begins with it: a million retries of tomorrow cost today nothing';
comment on column webhook_delivery.queue.delivery_id is 'The webhook_id: the same in every attempt';
comment on column webhook_delivery.queue.auction_id is 'The auction of event and endpoint';
comment on column webhook_delivery.queue.endpoint_id is 'Where it goes';
comment on column webhook_delivery.queue.event_id is 'What it carries';
comment on column webhook_delivery.queue.event_type is 'The type of that event';
comment on column webhook_delivery.queue.attempts is 'Attempts made so far';
comment on column webhook_delivery.queue.earlier_attempts is 'Of these, those made before it was sent again: its schedule has started again after them';
comment on column webhook_delivery.queue.is_test is 'Sent by test_webhook(): one attempt, also to a disabled endpoint';
comment on column webhook_delivery.queue.is_parked is 'Whether it waits for longer than a minute: the worker has moved it to queue_parked';
comment on column webhook_delivery.queue.not_before is 'When the next attempt may start, of a delivery that failed and keeps its place in due_at, because its endpoint is ordered: the others wait behind it';
comment on column webhook_delivery.queue.response_status_code is 'Of the last attempt; like the three that follow here rather than looked up in the log, so that the history is read without a join';
comment on column webhook_delivery.queue.response_time_ms is 'Of the last attempt';
comment on column webhook_delivery.queue.error_kind is 'Of the last attempt';
comment on column webhook_delivery.queue.error_message is 'Of the last attempt';
comment on column webhook_delivery.queue.end_reason is 'Why the worker is to end the delivery without another attempt; null for one that is to be sent. Only the worker knows whether an attempt is in flight, which may still succeed';
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
    'How many deliveries are parked, counted by the worker once a minute while there are very many. Empty otherwise: then each query counts them';
comment on column webhook_delivery.parked_counts.endpoint_id is 'Where they go';
comment on column webhook_delivery.parked_counts.auction_id is 'The auction of events and endpoint';
comment on column webhook_delivery.parked_counts.is_test is 'Sent by test_webhook()';
comment on column webhook_delivery.parked_counts.deliveries is 'How many';
comment on column webhook_delivery.parked_counts.due is 'Of these, those whose time had come';
comment on column webhook_delivery.parked_counts.oldest_due_at is 'When the oldest of those was due';
comment on column webhook_delivery.parked_counts.next_attempt_at is 'When the next attempt may start';

create function webhook_delivery.next_attempt_at(due_at timestamptz, not_before timestamptz, end_reason public.webhook_error_kind)
    returns timestamptz
    language sql immutable
    as $$ select case when end_reason is null then coalesce(not_before, due_at) end $$;

comment on function webhook_delivery.next_attempt_at(timestamptz, timestamptz, public.webhook_error_kind) is
    'Time at which the next attempt of a row of the queue may start; null if the delivery is to end without another. Without a SET clause, so that the planner puts it into the query';

-- Runs with the caller's rights. A function, because the planner would take the view for as expensive as the counting that it seldom does.
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
            count(*) filter (where webhook_delivery.next_attempt_at(queue.due_at, queue.not_before, queue.end_reason) <= now()),
            min(queue.due_at) filter (where webhook_delivery.next_attempt_at(queue.due_at, queue.not_before, queue.end_reason) <= now()),
            min(webhook_delivery.next_attempt_at(queue.due_at, queue.not_before, queue.end_reason))
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
    where deliveries > 0
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

select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_recent', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_parked', '');
