-- What does the operator ask and do: does it send, what is in its way, stop it, let it go on?

create function webhook_delivery.pause() returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into webhook_delivery.homes (system_identifier, database_oid, paused_at)
    values (webhook_delivery.system_identifier(), webhook_delivery.database_oid(), clock_timestamp())
    on conflict (system_identifier, database_oid) do update set paused_at = coalesce(homes.paused_at, excluded.paused_at);
    perform webhook_delivery.wake('-infinity');
end
$$;

comment on function webhook_delivery.pause() is
    'Stops sending from this database, when the transaction commits, until resume(). Events are captured and queued as before; requests under way end and are recorded';

create function webhook_delivery.resume() returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into webhook_delivery.homes (system_identifier, database_oid)
    values (webhook_delivery.system_identifier(), webhook_delivery.database_oid())
    on conflict (system_identifier, database_oid) do update set paused_at = null;
    delete from webhook_delivery.homes
    where (system_identifier, database_oid) <> (webhook_delivery.system_identifier(), webhook_delivery.database_oid());
    perform webhook_delivery.wake('-infinity');
end
$$;

comment on function webhook_delivery.resume() is
    'Sends from this database, when the transaction commits: after pause(), or because a copy takes the place of its original. What is queued goes out at once: the copy sends again what the original has sent since';

create view webhook_delivery.status as
    select
        case
            when worker.pid is null then 'no worker'
            when here.standing = 'copied' then 'paused: a copy'
            when here.standing = 'paused' then 'paused'
            when worker.idle_because is not null then 'waiting'
            when worker.problem is not null then 'failing'
            else 'sending'
        end as state,
        case
            when worker.pid is null then
                format('Add %s to webhook_delivery.databases and reload the configuration; where it is there, see the server''s log.',
                    pg_catalog.current_database())
            when here.standing = 'copied' then
                'These rows lived in another database, which may send them too. If this one takes its place: select webhook_delivery.resume().'
            when here.standing = 'paused' then 'To send again: select webhook_delivery.resume().'
            when worker.idle_because is not null then worker.idle_because
            when worker.problem is not null then
                'It is tried again within a minute, and the rest of the work goes on. The server''s log has the details.'
        end as hint,
        here.paused_at,
        worker.pid as worker_pid,
        worker.requests_in_flight,
        worker.deliveries_in_memory,
        worker.attempts_to_record,
        worker.problem,
        worker.problem_since
    from webhook_delivery.standing as here
    left join webhook_delivery.worker_report() as worker on true;

comment on view webhook_delivery.status is 'Does this database send, and if not, why? One row, for the operator';
comment on column webhook_delivery.status.state is
    'sending; waiting: see hint; failing: see problem; paused: by pause(); paused: a copy; no worker';
comment on column webhook_delivery.status.hint is 'What to do, null where nothing is to be done';
comment on column webhook_delivery.status.paused_at is 'When pause() was called';
comment on column webhook_delivery.status.worker_pid is 'The worker''s process, as in pg_stat_activity';
comment on column webhook_delivery.status.requests_in_flight is 'Requests under way';
comment on column webhook_delivery.status.deliveries_in_memory is 'Deliveries taken from the queue that wait for a thread';
comment on column webhook_delivery.status.attempts_to_record is 'Attempts that have ended and are not in the history yet. Many of them: somebody has locked their rows of the queue, or recording fails';
comment on column webhook_delivery.status.problem is 'What of the worker''s work fails, and with which error';
comment on column webhook_delivery.status.problem_since is 'Since when';
