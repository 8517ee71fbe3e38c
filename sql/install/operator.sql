-- Functions and views for the operator: pause, resume, status.

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
    'Stops sending, when the transaction commits, until resume() is called: to an endpoint, to an auction, or, without either, from this database. Events are still captured and queued; requests in flight end and are recorded. Tests wait as well. Raises PT404 for an unknown endpoint';

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
    'Sends again, when the transaction commits, to an endpoint or an auction that pause() has stopped, or, without either, from this database: after pause(), or if a copy takes the place of its original. Queued deliveries are sent at once: a copy sends again those that the original has sent since';

create function webhook_delivery.queue_depth(out deliveries bigint, out due bigint, out oldest_due_at timestamptz)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    -- The status view, which calls this, must still answer while another session locks the queue:
    -- it shows which one.
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
    'Returns the number of deliveries that have not ended, the number of those that are due and could be sent, and the time at which the oldest of these became due. Nulls while the queue is locked';

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
    'Returns the number of deliveries to each endpoint that have not ended: no row for an endpoint without any, and no rows while the queue is locked';

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
    'Returns the ten auctions with the most events in the last minute, of those with at least webhook_delivery.busy_events_per_minute: a receiver that causes another event for each event that it receives makes a loop. Only events that some endpoint subscribes to are counted';

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
        case case when now.state in ('sending', 'waiting') and webhook_delivery.citus_lacks_configuration() then 'unconfigured' else now.state end
            when 'unconfigured' then
                'The endpoints of the coordinator have not arrived: subscribe to its publication, as docs/citus.md shows. Events are dead letters until then.'
            when 'standby' then 'The primary sends. The worker starts here when this server is promoted.'
            when 'no worker' then case
                when pg_catalog.current_database() <> all (
                    pg_catalog.regexp_split_to_array(pg_catalog.btrim(pg_catalog.current_setting('webhook_delivery.databases')), ' *, *'))
                    then format('Add %s to webhook_delivery.databases and reload the configuration.', pg_catalog.current_database())
                when webhook_delivery.launcher_state() <> 'running'
                    then 'No background worker slot is free. Raise max_worker_processes and restart the server.'
                else 'The worker is being started. If it does not start within a minute, see the server log.'
            end
            when 'fenced' then
                'The rows come from another database, which may send them too. If this database takes its place: select webhook_delivery.resume().'
            when 'paused' then 'To send again: select webhook_delivery.resume().'
            when 'waiting' then worker.idle_reason
            when 'failing' then
                'The worker retries within a minute, and goes on with the rest of its work. The server log has the details.'
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
            format('%s attempts, most of them of auction %s, wait for %s, which has locked their queue rows.',
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

comment on view webhook_delivery.status is 'Whether this database sends, and if not, why. One row, for the operator';
comment on column webhook_delivery.status.state is
    'State of the worker: sending; waiting: see hint; failing: see problem; paused: by pause(); fenced: the rows come from another installation; no worker; standby';
comment on column webhook_delivery.status.since is 'Time at which the state or, if that is sending, waiting or fenced, the worker began; null without a worker and on a standby';
comment on column webhook_delivery.status.hint is 'Action to take; null if none is needed';
comment on column webhook_delivery.status.paused_at is 'Time at which pause() was called';
comment on column webhook_delivery.status.pause_reason is 'Reason that was given to pause()';
comment on column webhook_delivery.status.endpoints_paused is
    'Number of endpoints that are paused themselves; webhook_delivery.pauses has them, with the reasons';
comment on column webhook_delivery.status.auctions_paused is 'Number of auctions that are paused';
comment on column webhook_delivery.status.worker_pid is 'Process ID of the worker, as in pg_stat_activity';
comment on column webhook_delivery.status.worker_started_at is 'Time at which the worker started';
comment on column webhook_delivery.status.requests_in_flight is 'Number of requests in flight';
comment on column webhook_delivery.status.deliveries_in_memory is 'Number of deliveries read from the queue that wait for a thread';
comment on column webhook_delivery.status.attempts_to_record is
    'Number of attempts that have ended and are not in the history yet. If there are many, see blocked, or recording fails';
comment on column webhook_delivery.status.queued is 'Number of deliveries that have not ended, including those that wait for another attempt and those for a disabled or paused endpoint; null while the queue is locked';
comment on column webhook_delivery.status.due is 'Number of these deliveries that are due and whose endpoint receives';
comment on column webhook_delivery.status.oldest_due_at is 'Time at which the oldest of those became due: shows the delay of the worker';
comment on column webhook_delivery.status.delivered_per_minute is 'Number of deliveries that have succeeded in the last minute';
comment on column webhook_delivery.status.failed_attempts_per_minute is 'Number of requests that have failed in the last minute';
comment on column webhook_delivery.status.last_failure is 'Error of the last request that has failed since this worker started';
comment on column webhook_delivery.status.last_failure_at is 'Time at which that request was made';
comment on column webhook_delivery.status.problem is 'Part of the worker''s work that fails, and the error';
comment on column webhook_delivery.status.problem_since is 'Time since which it fails';
comment on column webhook_delivery.status.blocked is 'Finished attempts that cannot be recorded, and the transaction for which they wait. Nothing more is sent of an auction with many of them until that transaction ends; other auctions are not affected';
comment on column webhook_delivery.status.busy is 'Auctions with at least webhook_delivery.busy_events_per_minute events in the last minute, at most ten: a receiver that causes another event for each event that it receives makes a loop';
comment on column webhook_delivery.status.access_problem is
    'Reason why only operators see endpoints, or role that sees too many; null if no problem is known';
