-- The operator's calls: status, pause, resume.

create function webhook_delivery.pause(reason text default null, endpoint_id uuid default null, auction_id uuid default null)
    returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform webhook_delivery.check_writable();
    if num_nonnulls(endpoint_id, auction_id) = 0 then
        insert into webhook_delivery.installations (system_identifier, database_oid, restore_id, paused_at, pause_reason)
        values (webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id(),
            clock_timestamp(), pause.reason)
        on conflict on constraint an_installation_is_named_once do update set
            paused_at = coalesce(installations.paused_at, excluded.paused_at),
            pause_reason = coalesce(excluded.pause_reason, installations.pause_reason);
    else
        if endpoint_id is not null and not exists (
            select from public.webhook_endpoints as endpoint where endpoint.id = pause.endpoint_id)
        then
            perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
        end if;
        insert into webhook_delivery.pauses as known (endpoint_id, auction_id, reason)
        values (pause.endpoint_id, pause.auction_id, pause.reason)
        on conflict on constraint an_endpoint_or_an_auction_is_paused_once do update set
            reason = coalesce(excluded.reason, known.reason);
    end if;
    perform webhook_delivery.wake_to_rescan();
end
$$;

comment on function webhook_delivery.pause(text, uuid, uuid) is
    'Stops sending, when the transaction commits, until resume(): to an endpoint, to an auction, or without either from this database. Events are captured and queued as before; requests in flight end and are recorded. Tests wait as well. Unknown endpoint: PT404';

create function webhook_delivery.resume(endpoint_id uuid default null, auction_id uuid default null) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform webhook_delivery.check_writable();
    if num_nonnulls(endpoint_id, auction_id) = 0 then
        insert into webhook_delivery.installations (system_identifier, database_oid, restore_id)
        values (webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id())
        on conflict on constraint an_installation_is_named_once do update set paused_at = null, pause_reason = null;
        delete from webhook_delivery.installations as other
        where (other.system_identifier, other.database_oid, other.restore_id)
            <> (webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id());
    else
        delete from webhook_delivery.pauses as known
        where known.endpoint_id = resume.endpoint_id or known.auction_id = resume.auction_id;
    end if;
    perform webhook_delivery.wake_to_rescan();
end
$$;

comment on function webhook_delivery.resume(uuid, uuid) is
    'Sends again, when the transaction commits, to an endpoint or an auction that pause() has stopped; without either from this database: after pause(), or because a copy takes the place of its original. What is queued goes out at once: the copy sends again what the original has sent since';

create function webhook_delivery.queue_depth(out deliveries bigint, out due bigint, out oldest_due_at timestamptz)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    -- The view is for finding out who has locked the queue.
    set lock_timeout = '100ms'
    as $$
begin
    select coalesce(sum(waiting.deliveries), 0), coalesce(sum(waiting.due) filter (where waiting.receives), 0),
        min(waiting.oldest_due_at) filter (where waiting.receives)
    into deliveries, due, oldest_due_at
    from (
        select counted.*, (endpoint.is_active or counted.is_test) and endpoint.is_paused is not true as receives
        from webhook_delivery.queue_counts as counted
        left join webhook_delivery.endpoint_targets as endpoint on endpoint.id = counted.endpoint_id
    ) as waiting;
exception when lock_not_available then
    null;
end
$$;

comment on function webhook_delivery.queue_depth() is
    'How many deliveries are still to be made, how many of them are due and could be sent, and when the oldest of these was due. Nulls while the queue is locked';

create function webhook_delivery.endpoint_backlog() returns table (endpoint_id uuid, deliveries bigint)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '100ms'
    as $$
begin
    return query
        select counted.endpoint_id, sum(counted.deliveries)::bigint from webhook_delivery.queue_counts as counted group by counted.endpoint_id;
exception when lock_not_available then
    null;
end
$$;

comment on function webhook_delivery.endpoint_backlog() is
    'How many deliveries to each endpoint are still to be made: no row for one that has none, and none at all while the queue is locked';

create function webhook_delivery.busy_auctions() returns table (auction_id uuid, events bigint)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '100ms'
    as $$
begin
    return query
        select event.auction_id, count(*)
        from webhook_delivery.events as event
        where event.id >= webhook_delivery.uuid_v7_floor(clock_timestamp() - interval '1 minute')
        group by event.auction_id
        having count(*) >= nullif(current_setting('webhook_delivery.busy_events_per_minute')::bigint, 0)
        order by count(*) desc
        limit 10;
exception when lock_not_available then
    null;
end
$$;

comment on function webhook_delivery.busy_auctions() is
    'The ten auctions with most events in the last minute, of those with webhook_delivery.busy_events_per_minute and more: a receiver that causes the next event with what it does makes a loop. Only events that some endpoint wants are counted';

create function webhook_delivery.worker_state(send_state text, worker_pid integer, problem text, idle_reason text) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select case
        when pg_is_in_recovery() then 'standby'
        when worker_pid is null then 'no worker'
        when send_state in ('fenced', 'paused') then send_state
        when problem is not null then 'failing'
        when idle_reason is not null then 'waiting'
        else 'sending'
    end
    $$;

comment on function webhook_delivery.worker_state(text, integer, text, text) is
    'Returns the state that status and diagnose_webhook() show, from the state of send_state and from worker_report()';

create view webhook_delivery.status as
    select
        now.state,
        case now.state
            when 'paused' then here.paused_at
            when 'failing' then worker.problem_since
            when 'no worker' then null
            when 'standby' then null
            else worker.started_at
        end as since,
        case now.state
            when 'standby' then 'The primary sends. The worker starts here when this server is promoted.'
            when 'no worker' then case
                when pg_catalog.current_database() <> all (
                    pg_catalog.regexp_split_to_array(pg_catalog.btrim(pg_catalog.current_setting('webhook_delivery.databases')), ' *, *'))
                    then format('Add %s to webhook_delivery.databases and reload the configuration.', pg_catalog.current_database())
                when webhook_delivery.launcher_state() <> 'running'
                    then 'No background worker slot is free. Raise max_worker_processes and restart the server.'
                else 'It is being started. If it does not start within a minute, see the server''s log.'
            end
            when 'fenced' then
                'These rows lived in another database, which may send them too. If this one takes its place: select webhook_delivery.resume().'
            when 'paused' then 'To send again: select webhook_delivery.resume().'
            when 'waiting' then worker.idle_reason
            when 'failing' then
                'It is tried again within a minute, and the rest of the work goes on. The server''s log has the details.'
        end as hint,
        here.paused_at,
        here.pause_reason,
        (select count(*) from webhook_delivery.pauses where endpoint_id is not null) as endpoints_paused,
        (select count(*) from webhook_delivery.pauses where auction_id is not null) as auctions_paused,
        worker.pid as worker_pid,
        worker.started_at as worker_started_at,
        worker.requests_in_flight,
        worker.deliveries_in_memory,
        worker.attempts_to_record,
        queued.deliveries as queued,
        queued.due,
        queued.oldest_due_at,
        worker.delivered_in_last_minute as delivered_per_minute,
        worker.failed_attempts_in_last_minute as failed_attempts_per_minute,
        worker.last_failure,
        worker.last_failure_at,
        worker.problem,
        worker.problem_since,
        case when worker.locked_attempts > 0 then
            format('%s attempts, most of them of auction %s, wait for %s, which has locked their rows of the queue.',
                worker.locked_attempts, worker.locked_auction_id,
                coalesce(
                    (select format('the transaction of process %s', holder.pid) from pg_catalog.pg_locks as holder
                        where holder.locktype = 'transactionid' and holder.granted and holder.transactionid::text::bigint = worker.locked_by limit 1),
                    'a transaction'))
        end as blocked,
        (select pg_catalog.string_agg(format('auction %s had %s events', busy.auction_id, busy.events), ', ' order by busy.events desc)
            from webhook_delivery.busy_auctions() as busy) as busy,
        webhook_delivery.access_problem() as access_problem
    from webhook_delivery.send_state as here
    left join webhook_delivery.worker_report() as worker on true
    cross join webhook_delivery.worker_state(here.state, worker.pid, worker.problem, worker.idle_reason) as now (state)
    cross join webhook_delivery.queue_depth() as queued;

comment on view webhook_delivery.status is 'Does this database send, and if not, why? One row, for the operator';
comment on column webhook_delivery.status.state is
    'sending; waiting: see hint; failing: see problem; paused: by pause(); fenced: the rows come from another installation; no worker; standby';
comment on column webhook_delivery.status.since is 'Since when the state is that, or the worker is there';
comment on column webhook_delivery.status.hint is 'What to do, null where nothing is to be done';
comment on column webhook_delivery.status.paused_at is 'When pause() was called';
comment on column webhook_delivery.status.pause_reason is 'The reason that was given';
comment on column webhook_delivery.status.endpoints_paused is 'Endpoints that pause() has stopped by themselves; webhook_delivery.pauses says which and why';
comment on column webhook_delivery.status.auctions_paused is 'Auctions that pause() has stopped';
comment on column webhook_delivery.status.worker_pid is 'The worker''s process, as in pg_stat_activity';
comment on column webhook_delivery.status.worker_started_at is 'Since when there is this worker';
comment on column webhook_delivery.status.requests_in_flight is 'Requests in flight';
comment on column webhook_delivery.status.deliveries_in_memory is 'Deliveries taken from the queue that wait for a thread';
comment on column webhook_delivery.status.attempts_to_record is 'Attempts that have ended and are not in the history yet. Many of them: see blocked, or recording fails';
comment on column webhook_delivery.status.queued is 'Deliveries still to be made, those that wait for another attempt and those for a disabled or paused endpoint included; null while the queue is locked';
comment on column webhook_delivery.status.due is 'Of these, those whose time has come and whose endpoint receives';
comment on column webhook_delivery.status.oldest_due_at is 'When the oldest of those was due: how far behind the worker is';
comment on column webhook_delivery.status.delivered_per_minute is 'Deliveries that have ended well in the last minute';
comment on column webhook_delivery.status.failed_attempts_per_minute is 'Requests that have failed in the last minute';
comment on column webhook_delivery.status.last_failure is 'What the last request that failed has failed with, since this worker began';
comment on column webhook_delivery.status.last_failure_at is 'When it was made';
comment on column webhook_delivery.status.problem is 'What of the worker''s work fails, and with which error';
comment on column webhook_delivery.status.problem_since is 'Since when';
comment on column webhook_delivery.status.blocked is 'Which finished attempts cannot be recorded, and whose transaction they wait for. Of an auction with many of them nothing more is sent until it ends; others are not affected';
comment on column webhook_delivery.status.busy is 'Auctions with webhook_delivery.busy_events_per_minute events and more in the last minute, the ten busiest: a receiver that causes the next event makes a loop';
comment on column webhook_delivery.status.access_problem is 'Why only operators see endpoints, or which role sees too many; null where nothing is known to be wrong';
