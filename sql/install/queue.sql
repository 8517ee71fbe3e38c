-- The queue: deliveries that have not ended, and their numbers.

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
    -- Shows the planner that a search for success or failed in webhook_deliveries finds nothing here.
    constraint status_is_pending_or_retrying check (
        case when attempts = 0 then 'pending'::public.webhook_delivery_status else 'retrying' end in ('pending', 'retrying')),
    constraint a_delivery_ends_for_one_of_these_reasons check (end_reason in ('cancelled', 'expired', 'event_deleted')),
    constraint earlier_attempts_are_among_the_attempts check (earlier_attempts between 0 and attempts)
) partition by list (is_parked);

comment on table webhook_delivery.queue is
    'Deliveries that have not ended. A row is deleted when its delivery ends; only the worker knows which deliveries are in flight. Partitioned by whether the delivery is parked';
comment on column webhook_delivery.queue.due_at is
    'Time from which the next attempt may start. First column of the key: retries that are due later add no cost to those that are due now';
comment on column webhook_delivery.queue.delivery_id is 'Identifier of the delivery: the webhook_id, which is the same in every attempt';
comment on column webhook_delivery.queue.auction_id is 'Auction of the event and the endpoint';
comment on column webhook_delivery.queue.endpoint_id is 'Endpoint that receives the delivery';
comment on column webhook_delivery.queue.event_id is 'Event that the delivery carries';
comment on column webhook_delivery.queue.event_type is 'Type of that event';
comment on column webhook_delivery.queue.attempts is 'Number of attempts made so far';
comment on column webhook_delivery.queue.earlier_attempts is
    'Number of these attempts that were made before the delivery was redelivered: its retry schedule has started again after them';
comment on column webhook_delivery.queue.is_test is
    'Whether test_webhook() sent the delivery: it has one attempt, and is sent to a disabled endpoint as well';
comment on column webhook_delivery.queue.is_parked is 'Whether the delivery waits for longer than a minute: the worker has moved it to queue_parked';
comment on column webhook_delivery.queue.not_before is 'Time from which the next attempt may start if the delivery failed and its endpoint is ordered. Such a delivery keeps its due_at, and with it its position: the others wait behind it';
comment on column webhook_delivery.queue.response_status_code is 'HTTP status of the last attempt. This column and the next four repeat the log, so that the history is read without a join';
comment on column webhook_delivery.queue.response_time_ms is 'Milliseconds that the last attempt took';
comment on column webhook_delivery.queue.error_kind is 'Kind of error of the last attempt';
comment on column webhook_delivery.queue.error_message is 'Error message of the last attempt';
comment on column webhook_delivery.queue.end_reason is 'Reason why the worker is to end the delivery without another attempt; null if the delivery is to be sent. Only the worker knows whether an attempt is in flight, which may still succeed';
comment on column webhook_delivery.queue.attempted_at is 'Time at which the last attempt started';

create table webhook_delivery.queue_recent partition of webhook_delivery.queue (
    constraint deliveries_are_queued_once_per_time primary key (due_at, delivery_id)
) for values in (false) with (
    -- Every row is deleted soon after it is written. Autovacuum therefore goes by a number of rows,
    -- not by a fraction of a table that is nearly empty.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0
);
comment on table webhook_delivery.queue_recent is
    'Deliveries that are not parked. Most are sent within milliseconds of being queued, so a row has a single index entry';

create table webhook_delivery.queue_parked partition of webhook_delivery.queue (
    constraint deliveries_are_parked_once_per_time primary key (due_at, delivery_id)
) for values in (true) with (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0.05
);
create index parked_by_event on webhook_delivery.queue_parked (event_id);
-- The history reads one delivery, and the newest of an endpoint, of an auction and of all by these
-- indexes. uuid_v7_time() returns a time for every uuid, so it reveals nothing of a row that
-- row-level security hides. As a leakproof function it may search an index before row-level
-- security is applied.
alter function webhook_delivery.uuid_v7_time(uuid) leakproof;
create index parked_by_id on webhook_delivery.queue_parked (delivery_id);
create index parked_by_endpoint on webhook_delivery.queue_parked (endpoint_id, webhook_delivery.uuid_v7_time(delivery_id));
create index parked_by_auction on webhook_delivery.queue_parked (auction_id, webhook_delivery.uuid_v7_time(delivery_id));
create index parked_by_time on webhook_delivery.queue_parked (webhook_delivery.uuid_v7_time(delivery_id));
comment on table webhook_delivery.queue_parked is
    'Deliveries that wait for longer than a minute: for another attempt, or for an endpoint that does not receive. Their number does not slow down those in queue_recent, and the history finds them by index';

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
    'Numbers of parked deliveries, counted by the worker once a minute while there are very many. Empty otherwise: each query then counts them itself';
comment on column webhook_delivery.parked_counts.endpoint_id is 'Endpoint that receives the deliveries';
comment on column webhook_delivery.parked_counts.auction_id is 'Auction of the events and the endpoint';
comment on column webhook_delivery.parked_counts.is_test is 'Whether test_webhook() sent them';
comment on column webhook_delivery.parked_counts.deliveries is 'Number of parked deliveries';
comment on column webhook_delivery.parked_counts.due is 'Number of them that were due when they were counted';
comment on column webhook_delivery.parked_counts.oldest_due_at is 'Time at which the oldest of those became due';
comment on column webhook_delivery.parked_counts.next_attempt_at is 'Time from which the next attempt may start';

create function webhook_delivery.next_attempt_at(due_at timestamptz, not_before timestamptz, end_reason public.webhook_error_kind)
    returns timestamptz
    language sql immutable
    as $$ select case when end_reason is null then coalesce(not_before, due_at) end $$;

comment on function webhook_delivery.next_attempt_at(timestamptz, timestamptz, public.webhook_error_kind) is
    'Returns the time from which the next attempt of a row of the queue may start; null if the delivery is to end without another attempt. Without a SET clause, so that the planner inlines it';

-- Runs with the caller's rights. It is a function because the planner would otherwise estimate the
-- view to cost as much as a count of all rows, which it seldom makes.
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
    'Counts the deliveries that have not ended, those that are parked or the others. Returns the columns of queue_counts';

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
    'Numbers of deliveries that have not ended. An endpoint can have several rows, whose sum is its number. While there are very many parked deliveries, their number is up to a minute old';
comment on column webhook_delivery.queue_counts.endpoint_id is 'Endpoint that receives the deliveries';
comment on column webhook_delivery.queue_counts.auction_id is 'Auction of the events and the endpoint';
comment on column webhook_delivery.queue_counts.is_test is 'Whether test_webhook() sent them';
comment on column webhook_delivery.queue_counts.deliveries is 'Number of deliveries';
comment on column webhook_delivery.queue_counts.due is 'Number of them that are due, without those that are cancelled';
comment on column webhook_delivery.queue_counts.oldest_due_at is 'Time at which the oldest of those became due';
comment on column webhook_delivery.queue_counts.next_attempt_at is 'Time from which the next attempt may start; null if all are cancelled';

select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_recent', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.queue_parked', '');
