-- The clone fence: the installations that have had the rows of this extension, and whether this one
-- may send.

create table webhook_delivery.installations (
    system_identifier bigint not null,
    database_oid oid not null,
    since timestamptz not null default pg_catalog.clock_timestamp(),
    paused_at timestamptz,
    pause_reason text,
    restore_id text not null default '',
    constraint an_installation_is_named_once primary key (system_identifier, database_oid, restore_id)
);

comment on table webhook_delivery.installations is
    'Installations that have had the rows of this extension. A copy of the database, a restored dump and a restored backup of the server have the row of the original, so they send nothing until webhook_delivery.resume() is called';
comment on column webhook_delivery.installations.system_identifier is 'System identifier of the server, as in pg_control_system()';
comment on column webhook_delivery.installations.database_oid is 'OID of the database, as in pg_database';
comment on column webhook_delivery.installations.since is 'Time at which the first endpoint was created there, or resume() was called';
comment on column webhook_delivery.installations.paused_at is 'Time at which webhook_delivery.pause() was called; null if sending is not paused';
comment on column webhook_delivery.installations.pause_reason is 'Reason that was given to pause()';
comment on column webhook_delivery.installations.restore_id is
    'Identifier of the last restore of the server''s files from a backup, as restore_id() returns it; empty if there was none';

create view webhook_delivery.send_state as
    select
        case
            when exists (
                select from webhook_delivery.installations as other
                where (other.system_identifier, other.database_oid, other.restore_id)
                    <> (here.system_identifier, here.database_oid, here.restore_id))
                then 'fenced'
            when known.paused_at is not null then 'paused'
            when known.since is not null then 'sending'
            -- Rows without an installation: a dump is being restored, or was restored in part.
            when exists (select from webhook_delivery.endpoint_secrets) then 'fenced'
            else 'waiting'
        end as state,
        known.paused_at,
        known.pause_reason
    from (select webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id())
        as here (system_identifier, database_oid, restore_id)
    left join webhook_delivery.installations as known using (system_identifier, database_oid, restore_id);

comment on view webhook_delivery.send_state is
    'Whether this database may send. One row; the worker reads it in the snapshot of each read of the queue';
comment on column webhook_delivery.send_state.state is
    'State: sending; paused: by pause(); fenced: the rows come from another installation; waiting: no endpoint has been created here yet';
comment on column webhook_delivery.send_state.paused_at is 'Time at which pause() was called';
comment on column webhook_delivery.send_state.pause_reason is 'Reason that was given to pause()';

-- In PL/pgSQL, like the other functions that are called for every endpoint created: a function in
-- SQL would be planned at each call.
create function webhook_delivery.claim_installation() returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into webhook_delivery.installations (system_identifier, database_oid, restore_id)
    select webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id()
    from webhook_delivery.send_state
    where state = 'waiting' and not exists (select from webhook_delivery.queue)
    on conflict do nothing;
end
$$;

comment on function webhook_delivery.claim_installation() is
    'Makes this database the installation that sends, if there is none yet. Called when an endpoint is created, but never while a dump is restored';

select pg_catalog.pg_extension_config_dump('webhook_delivery.installations', '');
