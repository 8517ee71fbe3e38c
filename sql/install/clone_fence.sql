-- The clone fence: the installations in which these rows have lived, and whether anything may be sent from this one.

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
comment on column webhook_delivery.homes.pause_reason is 'The reason that was given';
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

select pg_catalog.pg_extension_config_dump('webhook_delivery.homes', '');
