-- Grants, which are the only privileges of other roles; comments on functions written in Rust; and
-- the last steps of the installation.

create function webhook_delivery.grant_api(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select, insert, update, delete on public.webhook_endpoints to %s', grantee);
    execute format('grant select on public.webhook_event_types, public.webhook_deliveries, public.webhook_delivery_attempts,
        public.webhook_endpoint_health, public.webhook_deleted_endpoints to %s', grantee);
    -- The views read these with the caller's rights; row-level security decides which rows.
    execute format('grant select on webhook_delivery.queue, webhook_delivery.parked_counts, webhook_delivery.queue_counts,
        webhook_delivery.endpoint_health to %s', grantee);
    -- The reason of a pause is not granted: only the operator reads it.
    execute format('grant select (endpoint_id, auction_id, paused_at) on webhook_delivery.pauses to %s', grantee);
    -- The address that was called and the parts of the response time are not granted: only the
    -- operator reads them.
    execute format('grant select (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status, response_status_code,
        response_time_ms, error_kind, error_message, response_excerpt, is_test, attempted_at, next_attempt_at, created_at)
        on webhook_delivery.attempts, webhook_delivery.attempts_ended to %s', grantee);
    execute (
        select format('grant execute on function %s to %s', string_agg(routine::regprocedure::text, ', '), grantee)
        from unnest(webhook_delivery.tenant_routines()) as routine);
end
$$;

comment on function webhook_delivery.grant_api(regrole) is
    'Grants a role the tenants'' interface: endpoints with their generated_secret(), catalogue, history, test_webhook() and the other functions for tenants. Row-level security still decides which rows';

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
            "webhook_delivery.emit(text, uuid, json, text)",
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
            "webhook_delivery.has_citus()",
            "webhook_delivery.citus_colocated_shards(regclass)",
            "webhook_delivery.citus_placement(regclass)",
            "webhook_delivery.citus_obstacle(regclass, regclass, boolean)",
            "webhook_delivery.execute_for_trigger(text)",
            "webhook_delivery.make_trigger_depend_on_extension(name, regclass)",
            "webhook_delivery.remove_triggers()",
            "webhook_delivery.unsuitable_columns(regclass, text[])",
            "webhook_delivery.reading_obstacle(regclass, regclass)"}'::regprocedure[]) as routine);
end
$$;

comment on function webhook_delivery.grant_application(regrole) is
    'Grants the role that owns the application''s tables the privileges needed to send their events: triggers, event types and payload functions of its own, emit(). Such a role speaks for every auction';

-- Default privileges (Supabase has some, for anon and authenticated) have granted the objects just
-- created to other roles.
select webhook_delivery.revoke_from_others();

select webhook_delivery.grant_api(oid) from pg_catalog.pg_roles where rolname in ('authenticated', 'service_role');
select webhook_delivery.grant_page(oid) from pg_catalog.pg_roles where rolname = 'anon';

select webhook_delivery.create_worker_role();

-- A worker that waits for the extension starts at once, not at its next check.
select webhook_delivery.wake_to_rescan();

comment on schema webhook_delivery is 'Private schema of webhook_delivery: events, queue, attempts, secrets, and the functions that work on them';
comment on function webhook_delivery.uuid_v7() is 'Returns a new time-ordered uuid (version 7, RFC 9562)';
comment on function webhook_delivery.uuid_v7_time(uuid) is 'Returns the time at which a version 7 uuid was generated, in milliseconds';
comment on function webhook_delivery.uuid_v7_floor(timestamptz) is 'Returns the lowest version 7 uuid of a moment: the bound of a partition that begins there';
comment on function webhook_delivery.new_endpoint_id() is 'Returns a new id, which the session remembers until an endpoint has it';
comment on function webhook_delivery.take_new_endpoint_id(uuid) is 'Whether new_endpoint_id() made this id in this session, for the first endpoint that has it';
comment on function webhook_delivery.closest_name(text, text[]) is 'Returns the known name that is most like an unknown one; null if none is alike';
comment on function webhook_delivery.wake(timestamptz) is 'Wakes the worker when this transaction commits; due_at is the time at which the earliest delivery that it queued is due';
comment on function webhook_delivery.wake_to_rescan() is 'Makes the worker read all due deliveries again when this transaction commits, because the transaction has changed what may be sent';
comment on function webhook_delivery.system_identifier() is 'Returns the identifier of this server''s data, which every copy of its files shares and no other server has';
comment on function webhook_delivery.database_oid() is 'Returns the oid of this database, which a renamed database keeps and a copy does not share';
comment on function webhook_delivery.restore_id() is 'Returns the identifier of the last restore of this server''s files from a backup, which no other copy of them shares; empty if there was none';
comment on function webhook_delivery.launcher_state() is 'Returns the state of the launcher, which starts a worker in each database: running, no slot (a worker could not be started for lack of a background worker slot), absent';
comment on function webhook_delivery.check_writable() is 'Raises 25006 on a standby and in a read-only transaction';
comment on function webhook_delivery.worker_report() is 'Returns what the worker of this database reports about itself; no row if there is no worker. See webhook_delivery.status';
comment on function webhook_delivery.capture_partition_move() is 'Trigger for AFTER INSERT OR DELETE ... FOR EACH ROW of a partitioned table: a row that moves to another partition counts as an update, whose events the triggers for an update make, and neither as deleted nor as created';
comment on function webhook_delivery.capture_row_change() is 'Trigger: records that the event of the row is to be built when the transaction is complete. Arguments, of which the last may be omitted or empty: event type; key column; column of the auction (empty: the payload query returns it); column of the row that the event is about, if it is another row; type of the event about the same row that makes this one superfluous in the same transaction; the only column whose change makes the event; previous, if the payload needs the row as it was';
comment on function webhook_delivery.row_event() is 'Trigger for AFTER ... FOR EACH ROW: makes an event of the row when the transaction commits. Arguments: event type; column of the auction; columns to leave out. The data is the row as JSON (a deleted row as it was); for an update, previous has the former values of the columns that changed. An update that changes no column of the data makes no event';
comment on function webhook_delivery.emit(text, uuid, json) is 'Sends an event of the application''s own to the endpoints of the auction that subscribe to it, if the transaction commits. Returns the event''s id, null if no endpoint subscribes to it. The event is written at commit: if that fails, on a full disk (53100), so does the transaction. No other function can make a commit fail. Grant EXECUTE to the roles that may speak for every auction';
comment on function webhook_delivery.announce_change() is 'Trigger: makes every session read again what it has cached of the table';
comment on function webhook_delivery.recapture(bigint) is 'Sends the events of a row of capture_errors, with the data that their rows have now, and deletes it; events that fail again stay, with the new error. Returns the number of events written: 0 for rows that do not exist any more or that no endpoint subscribes to; null, with a WARNING, if the row does not exist or does not identify its events';
comment on function webhook_delivery.normal_url(text) is 'Returns the normal form of an endpoint''s URL; raises 22023 if the URL is invalid';
comment on function webhook_delivery.check_endpoint_headers(text) is 'Raises 22023 for headers, given as JSON, that cannot be sent, that the sender sets, or that control the connection; and for more than 20';
comment on function webhook_delivery.check_secret(text) is 'Raises 22023 for a secret that is too short, too long, or begins with whsec_ and does not go on in base64';
comment on function webhook_delivery.generate_secret() is 'Returns a new secret: whsec_ and 32 random bytes in base64';
comment on function webhook_delivery.stash_secret(uuid, text, boolean) is 'Stashes a secret, and whether it was generated, until the row of its endpoint is known to be written';
comment on function webhook_delivery.stashed_secret(uuid) is 'Returns the stashed secret of an endpoint, or null';
comment on function webhook_delivery.stashed_is_unknown(uuid) is 'Whether the stashed secret of an endpoint was generated and has not been shown; null if none is stashed';
comment on function webhook_delivery.show_generated_secret(uuid) is 'Returns the secret that the running statement has generated for an endpoint, or null; always null in a trigger';
comment on function webhook_delivery.take_stashed_secret(uuid) is 'Removes the stashed secret of an endpoint and returns it, or null';
comment on function webhook_delivery.stash_signing_key(uuid) is 'Generates a key pair and stashes the private key until the row of its endpoint is known to be written. Returns the public key';
comment on function webhook_delivery.take_stashed_signing_key(uuid) is 'Removes the stashed private key of an endpoint and returns it, or null';
comment on function webhook_delivery.seal_secret(uuid, text, text) is 'Returns a secret as endpoint_secrets stores it: encrypted with the first key of webhook_delivery.secret_key_file, or as it is if that is not set';
comment on function webhook_delivery.reencrypt_secrets(boolean) is 'Encrypts all secrets of endpoints with the first key of webhook_delivery.secret_key_file, while deliveries go on; with plain => true stores them without encryption. Returns the number of secrets that were stored otherwise before. Raises 55000 if the setting is empty, F0000 if the file or a key that is needed cannot be read';
comment on function webhook_delivery.begin_stashing() is 'Marks the start of a statement that writes endpoints';
comment on function webhook_delivery.end_stashing() is 'Marks the end of a statement that writes endpoints, and discards what it has stashed';
comment on function webhook_delivery.begin_rotation(uuid, double precision) is 'Makes the next update of this endpoint in this transaction generate a secret, and the old one sign as well for this number of seconds; raises 22023 if that is not between 0 and 30 days. Does nothing by itself';
comment on function webhook_delivery.rotation(uuid) is 'Returns the number of seconds for which the old secret of this endpoint keeps signing when it is replaced; null if the endpoint is not being rotated';
comment on function webhook_delivery.auctions_of_member() is 'Returns the auctions of which auction_members names the sub of request.jwt.claims as owner or admin, for use if webhook_delivery.access_function is empty. Reads with the rights of that table''s owner';
comment on function webhook_delivery.queue_test(uuid, text) is 'Queues the catalogue''s example of this event type for an endpoint that the caller sees. Returns the delivery''s id; null if the endpoint or the event type does not exist, or if its auction has sent webhook_delivery.tests_per_minute tests within a minute';
comment on function webhook_delivery.redeliver_visible(uuid[]) is 'Implements redeliver(): returns the number of deliveries that are sent again. Raises 53400 for more than webhook_delivery.redeliveries_per_minute of an auction, which redeliver() raises again as PT429';
comment on function webhook_delivery.cancel(uuid[]) is 'Ends those of these deliveries that the caller sees and that wait for an attempt, as failed with the error "cancelled"; returns their number. A request in flight is not stopped, and may still succeed';
comment on function webhook_delivery.replay(uuid, timestamptz, timestamptz, text[]) is 'Implements replay_webhooks(): queues the events from the first time until before the second, of these types, for an endpoint that has not received them. Returns their number; null if the caller sees no such endpoint. Raises 53400 for more than webhook_delivery.redeliveries_per_minute of an auction, which replay_webhooks() raises again as PT429';
comment on function webhook_delivery.deliveries_of_nodes(uuid, uuid, integer) is 'Implements webhook_deliveries_of_all_nodes(): null if the caller does not see the auction';
comment on function webhook_delivery.matches_filter(jsonpath, uuid, text, json) is 'Returns whether the data of an event of this auction and type matches a filter; null if the filter is neither true nor false, fails, or takes longer than the auction''s filters may: such events are sent';
comment on function webhook_delivery.normal_filter(text) is 'Returns a filter as a jsonpath is displayed; raises 22023 for one that is no condition, that may take too long, or that has more than 1,000 characters';
comment on function webhook_delivery.preview_filter(uuid, text, text[]) is 'Implements preview_webhook_filter(): raises 42501 if the caller does not administer the auction, 22023 for an invalid filter';
comment on function webhook_delivery.backfill_rows(text, uuid[], text) is 'Implements backfill()';
comment on function webhook_delivery.request_of(uuid) is 'Returns URL, headers and body of the last request of a delivery that the caller sees, or of the first if none was made yet; no row if there is no such delivery; null for what was deleted. See webhook_request()';
comment on function webhook_delivery.diagnose_endpoint(uuid) is 'Returns what diagnose_webhook() needs of an endpoint that the caller sees, in addition to what the caller can read: addresses of its URL or the problem with them (the name is looked up, which takes two seconds at most), the form of its secret (whsec, own, ed25519 if it has a key pair, or encrypted if it cannot be decrypted), the time until which the previous secret also signs, the state of the worker, whether the endpoint is paused, the event types that it subscribes to and no trigger makes, those whose trigger is disabled, and those that could not be built. No row if there is no such endpoint';
comment on function webhook_delivery.expunge(uuid, uuid, text) is 'Implements expunge_webhook_data(): deletes the data of the auction''s events, of those about this row (or null) and with this text in it (or null). Returns the number of events; null if the caller does not administer the auction';
comment on function public.webhook_admin(text) is 'Returns the administrator''s page: endpoints, tests, history and problems, for the user who signs in. PostgREST serves it as rpc/webhook_admin when a browser requests it; the argument is the gateway''s key, if the address has to carry one';
comment on function webhook_delivery.admin_page(text) is 'Returns the same page for a web server of the application. The argument is the address of PostgREST: https://HOST/rest/v1; raises 22023 if it is invalid';
comment on function webhook_delivery.named_auctions() is 'Implements webhook_auctions()';
