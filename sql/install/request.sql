-- One delivery in full: its request, its attempts and their timings. And waiting for a delivery.

-- Runs with the caller's rights, which decide what the caller sees.
create function public.webhook_request(delivery_id uuid) returns public.webhook_delivery_request
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    delivery record;
    verify text;
    attempts json;
begin
    select known.event_type, known.status, made.url, made.headers, made.body into delivery
    from public.webhook_deliveries as known
    cross join webhook_delivery.request_of(known.id) as made
    where known.id = webhook_request.delivery_id;
    if not found then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    end if;
    if delivery.headers is not null then
        verify := format(
            'X-Webhook-Signature is sha256= and what this prints, with the body as it is, to the byte: printf %%s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" (the whole secret, with whsec_ where it begins so). '
            'webhook-signature covers "%s.%s." and the body; %s.',
            delivery.headers ->> 'webhook-id', delivery.headers ->> 'webhook-timestamp',
            case when starts_with(delivery.headers ->> 'webhook-signature', 'v1a,')
                then 'the public key of the endpoint verifies it (Ed25519, in base64 after v1a,)' else 'a Standard Webhooks library verifies it' end);
    end if;
    if has_column_privilege('webhook_delivery.attempts', 'address', 'select') then
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_kind, log.error_message, log.response_excerpt,
                log.attempted_at, log.next_attempt_at, log.response_time_ms, log.lookup_ms, log.connect_ms, log.tls_ms, log.first_byte_ms,
                host(log.address) as address
            from webhook_delivery.attempts as log
            where log.delivery_id = webhook_request.delivery_id and log.response_time_ms is not null
        ) as made;
    else
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_kind, log.error_message, log.response_excerpt,
                log.attempted_at, log.next_attempt_at, log.response_time_ms
            from public.webhook_delivery_attempts as log
            where log.delivery_id = webhook_request.delivery_id
        ) as made;
    end if;
    return row(delivery.event_type, delivery.status, delivery.url, delivery.headers, delivery.body, verify, attempts);
end
$$;

comment on function public.webhook_request(uuid) is
    'Returns what a delivery sends: URL, headers and body of its last request, with the endpoint''s present URL, headers and secret; how to verify it; and each request made, for operators with the address that was called and the timings in milliseconds. URL and headers are null if the endpoint does not exist any more, headers and body if the event does not. Raises PT404 for an unknown delivery';

create function webhook_delivery.wait_for_delivery(delivery_id uuid, at_most interval default '30 seconds') returns public.webhook_delivery_status
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    deadline constant timestamptz := clock_timestamp() + at_most;
    found_status public.webhook_delivery_status;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'wait_for_delivery() requires isolation level read committed',
            hint = 'Begin the transaction with isolation level read committed: others do not see what is committed while they wait.';
    end if;
    if exists (
        select from webhook_delivery.queue as waiting
        where waiting.delivery_id = wait_for_delivery.delivery_id
            and waiting.xmin::text::bigint = pg_current_xact_id_if_assigned()::text::bigint % 4294967296)
    then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('webhook delivery %s was queued by this transaction and is sent only after its commit', delivery_id),
            hint = 'Commit the transaction before you wait.';
    end if;
    loop
        select delivery.status into found_status from public.webhook_deliveries as delivery where delivery.id = delivery_id;
        if not found then
            perform webhook_delivery.refuse_unknown_delivery(delivery_id);
        end if;
        exit when found_status in ('success', 'failed') or clock_timestamp() >= deadline;
        perform pg_sleep(0.02);
    end loop;
    return found_status;
end
$$;

comment on function webhook_delivery.wait_for_delivery(uuid, interval) is
    'Waits until a delivery has ended, at most for this time, and returns its status: success or failed, or its status at that time. For scripts. Raises PT404 for an unknown delivery, 55000 if the same transaction queued it or is not read committed';
