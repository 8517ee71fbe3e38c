-- Grants: a role may do what is said here and nothing else. And the last steps of the installation.

create function webhook_delivery.grant_api(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, insert, update, delete on public.webhook_endpoints to %s', grantee);
    execute format('grant select on public.webhook_event_types, public.webhook_deliveries, public.webhook_delivery_attempts,
        public.webhook_endpoint_health to %s', grantee);
    -- What the views read with the caller's rights. Row-level security decides here.
    execute format('grant select on webhook_delivery.queue, webhook_delivery.parked_counts, webhook_delivery.queue_counts,
        webhook_delivery.endpoint_health to %s', grantee);
    -- Why is between the operator and himself.
    execute format('grant select (endpoint_id, auction_id, paused_at) on webhook_delivery.pauses to %s', grantee);
    -- Who was called, and where the time went, is the operator's.
    execute format('grant select (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, delivery_status, response_status_code,
        response_time_ms, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, created_at)
        on webhook_delivery.attempts, webhook_delivery.attempts_ended to %s', grantee);
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest(webhook_delivery.tenant_routines()) as routine);
end
$$;

comment on function webhook_delivery.grant_api(regrole) is
    'Grants a role the tenants'' interface: endpoints with their generated_secret(), catalogue, history, test_webhook() and the other calls. Row-level security still decides which rows';

create function webhook_delivery.grant_application(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select on webhook_delivery.capture_rules, webhook_delivery.required_tables, webhook_delivery.payload_queries to %s', grantee);
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest('{
            "webhook_delivery.emit(text, uuid, json)",
            "webhook_delivery.backfill(text, uuid[], text)",
            "webhook_delivery.backfill_rows(text, uuid[], text)",
            "webhook_delivery.emit_statement(text)",
            "webhook_delivery.register_event_type(text, text, json, json)",
            "webhook_delivery.schema_of(json, boolean)",
            "webhook_delivery.set_payload_function(text, regprocedure, regclass)",
            "webhook_delivery.row_event()",
            "webhook_delivery.access_problem()",
            "webhook_delivery.capture_row_change()",
            "webhook_delivery.capture_partition_move()",
            "webhook_delivery.install_triggers(text)",
            "webhook_delivery.remove_triggers()",
            "webhook_delivery.unsuitable_columns(regclass, text[])",
            "webhook_delivery.reading_obstacle(regclass, regclass)"}'::regprocedure[]) as routine);
end
$$;

comment on function webhook_delivery.grant_application(regrole) is
    'Grants the role that owns the application''s tables what it takes to send their events: triggers, event types and payload functions of its own, emit(). Such a role speaks for every auction';

-- Default privileges (Supabase has some, for anon and authenticated) have opened what we just created to others.
select webhook_delivery.revoke_from_others();

select webhook_delivery.grant_api(oid) from pg_catalog.pg_roles where rolname in ('authenticated', 'service_role');
select webhook_delivery.grant_page(oid) from pg_catalog.pg_roles where rolname = 'anon';

select webhook_delivery.create_worker_role();

-- A worker that waits for the extension need not wait until it looks again.
select webhook_delivery.wake_to_rescan();

comment on schema webhook_delivery is 'What is private to webhook_delivery: events, queue, attempts, secrets, and the functions that work on them';
comment on function webhook_delivery.uuid_v7() is 'A new time-ordered uuid (version 7, RFC 9562)';
comment on function webhook_delivery.uuid_v7_time(uuid) is 'When a version 7 uuid was made, in milliseconds';
comment on function webhook_delivery.uuid_v7_floor(timestamptz) is 'The lowest version 7 uuid of a moment: the bound of a partition that begins there';
comment on function webhook_delivery.wake(timestamptz) is 'Wakes the worker when this transaction commits; due_at is when the earliest delivery that it queued is due';
comment on function webhook_delivery.wake_to_rescan() is 'Has the worker read everything that is due again when this transaction commits, because this transaction has changed what may be sent';
comment on function webhook_delivery.system_identifier() is 'The identifier of this server''s data, which every copy of its files shares and no other server has';
comment on function webhook_delivery.database_oid() is 'The oid of this database, which a renamed one keeps and a copy does not share';
comment on function webhook_delivery.restore_id() is 'The identifier of the last restore of this server''s files from a backup, which no other copy of them shares; empty where there was none';
comment on function webhook_delivery.launcher_state() is 'How the launcher does, which starts a worker in each database: running, no slot (a worker could not be started for want of a background worker slot), absent';
comment on function webhook_delivery.check_writable() is 'Refuses (25006) on a standby and in a read-only transaction';
comment on function webhook_delivery.worker_report() is 'What the worker of this database says of itself; no row where there is none. See webhook_delivery.status';
comment on function webhook_delivery.capture_partition_move() is 'Trigger for AFTER INSERT OR DELETE ... FOR EACH ROW of a partitioned table: a row that moves to another partition is an update, whose events the triggers for an update make, and neither deleted nor created';
comment on function webhook_delivery.capture_row_change() is 'Trigger: notes that the row''s event is to be built when the transaction is complete. Arguments, of which the last may be left out or empty: event type; key column; column of the auction (empty: the payload says it); column of the row that the event is about, where it is another one; the event about the same row that makes this one needless in the same transaction; the only column whose change makes the event; previous, where the payload needs the row as it was';
comment on function webhook_delivery.row_event() is 'Trigger for AFTER ... FOR EACH ROW: the row is an event when the transaction commits. Arguments: event type; column of the auction; columns to leave out. The data is the row as JSON (of a deleted one what it was); of an update with previous, what the columns that changed were before. Nothing where none did';
comment on function webhook_delivery.emit(text, uuid, json) is 'Sends an event of your own to the endpoints of the auction that want it, if the transaction commits. Returns the event''s id, null when no endpoint wants it. It is written with the commit: where that fails, on a full disk (53100), so does the transaction. It is the only call that can end a commit. Grant EXECUTE to the roles that may speak for every auction';
comment on function webhook_delivery.announce_change() is 'Trigger: has every session read anew what it remembers of the table';
comment on function webhook_delivery.recapture(bigint) is 'Sends the events of a row of capture_errors, with the data that their rows have now, and removes it; what fails again stays, with its present reason. Returns how many events were written: 0 for rows that are gone or that no endpoint wants; null, with a WARNING, where there is no such row or it does not say what its events are';
comment on function webhook_delivery.normal_url(text) is 'The normal form of an endpoint''s URL; refuses (22023) what cannot be one';
comment on function webhook_delivery.check_endpoint_headers(text) is 'Refuses (22023) headers, given as JSON, that cannot be sent, that are set by the sender, or that matter for the connection; and more than 20';
comment on function webhook_delivery.check_secret(text) is 'Refuses (22023) a secret that is too short, too long, or begins with whsec_ and does not go on in base64';
comment on function webhook_delivery.generate_secret() is 'A new secret: whsec_ and 32 random bytes in base64';
comment on function webhook_delivery.stash_secret(uuid, text, boolean) is 'Keeps a secret, and whether it was generated, until it is known that the row is written';
comment on function webhook_delivery.stashed_secret(uuid) is 'The stashed secret of an endpoint, or null';
comment on function webhook_delivery.stashed_is_unknown(uuid) is 'Whether the stashed secret of an endpoint was generated and has not been shown, or null';
comment on function webhook_delivery.show_generated_secret(uuid) is 'The secret that the running statement has generated for an endpoint, or null; always null in a trigger';
comment on function webhook_delivery.take_stashed_secret(uuid) is 'Takes the stashed secret of an endpoint out, or null';
comment on function webhook_delivery.begin_stashing() is 'A statement that writes endpoints begins';
comment on function webhook_delivery.end_stashing() is 'It ends, and what it has stashed is forgotten';
comment on function webhook_delivery.begin_rotation(uuid, double precision) is 'Has the next update of this endpoint in this transaction generate a secret, and the old one sign as well for this number of seconds, 0 to 30 days (22023). Does nothing by itself';
comment on function webhook_delivery.rotation(uuid) is 'For how many seconds the old secret of this endpoint goes on signing when it is replaced; null where it does not';
comment on function webhook_delivery.auctions_of_member() is 'The auctions of which auction_members names the sub of request.jwt.claims as owner or admin, where webhook_delivery.access_function names no other function. Read with the rights of that table''s owner';
comment on function webhook_delivery.queue_test(uuid, text) is 'Queues the catalogue''s example of this event type for an endpoint that the caller can see; returns the delivery''s id, null if there is no such endpoint, there is no such type, or its auction has sent webhook_delivery.tests_per_minute tests within a minute';
comment on function webhook_delivery.redeliver_visible(uuid[]) is 'What redeliver() does: how many deliveries are sent again. More than webhook_delivery.redeliveries_per_minute of an auction: 53400, of which resend() makes PT429';
comment on function webhook_delivery.cancel(uuid[]) is 'Ends those of these deliveries that the caller sees and that wait for an attempt, as failed with the error "cancelled"; returns how many. A request that is in flight is let end, and may still succeed';
comment on function webhook_delivery.replay(uuid, timestamptz, timestamptz, text[]) is 'What replay_webhooks() does: queues events from this time until before that one, of these types, for an endpoint that has not had them. Returns how many, null where the caller sees no such endpoint. More than webhook_delivery.redeliveries_per_minute of an auction: 53400, of which replay_webhooks() makes PT429';
comment on function webhook_delivery.backfill_rows(text, uuid[], text) is 'What backfill() does';
comment on function webhook_delivery.request_of(uuid) is 'URL, headers and body of the last request of a delivery that the caller sees, or of the first where none was made yet: no row if there is none; null what was deleted. See webhook_request()';
comment on function webhook_delivery.diagnose_endpoint(uuid) is 'What diagnose_webhook() asks of an endpoint that the caller sees, in addition to what the caller can read: addresses of its URL or the problem with them (the name is looked up, which takes two seconds at most), the form of its secret (whsec or own), until when the previous one signs as well, the state of the worker, whether it is paused, the events that it wants and no trigger makes, those with a trigger that is disabled, and those that could not be built. No row if there is none';
comment on function webhook_delivery.expunge(uuid, uuid, text) is 'What expunge_webhook_data() does: deletes the data of the auction''s events, of those about this row (or null) and with this text in it (or null). Returns how many, null where the caller does not administer the auction';
comment on function public.webhook_admin(text) is 'The administrator''s page: endpoints, tests, history and what is wrong with them, for the user who signs in. PostgREST serves it as rpc/webhook_admin, as a browser asks for it; the argument is the gateway''s key, where the address has to carry one';
comment on function webhook_delivery.admin_page(text) is 'The same page for a web server of your own; the argument is the address that PostgREST is called at: https://HOST/rest/v1. What cannot be one: 22023';
comment on function webhook_delivery.named_auctions() is 'What webhook_auctions() shows';
