-- One delivery in full: the request, its attempts, and where the time went.

-- Runs with the caller's rights, which decide what the caller sees.
create function public.webhook_request(
    delivery_id uuid, out event_type text, out status text, out url text, out headers jsonb, out body text, out verify text,
    out attempts json
)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    select delivery.event_type, delivery.status, request.url, request.headers, request.body
    into event_type, status, url, headers, body
    from public.webhook_deliveries as delivery
    cross join webhook_delivery.request_of(delivery.id) as request
    where delivery.id = webhook_event.delivery_id;
    if not found then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    end if;
    if headers is not null then
        verify := format(
            'X-Webhook-Signature is sha256= and what this prints, with the body as it is, to the byte: printf %%s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" (the whole secret, with whsec_ where it begins so). '
            'webhook-signature covers "%s.%s." and the body; a Standard Webhooks library verifies it.',
            headers ->> 'webhook-id', headers ->> 'webhook-timestamp');
    end if;
    if has_column_privilege('webhook_delivery.attempts', 'address', 'select') then
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_message, log.response_excerpt, log.attempted_at,
                log.next_attempt_at, log.response_time_ms, course.lookup_ms, course.connect_ms, course.tls_ms, course.first_byte_ms,
                host(course.address) as address
            from public.webhook_delivery_attempts as log
            join webhook_delivery.attempts as course on course.delivery_id = log.delivery_id and course.attempt = log.attempt
            where log.delivery_id = webhook_event.delivery_id and course.response_time_ms is not null
        ) as made;
    else
        select coalesce(json_agg(made order by made.attempt), '[]') into attempts
        from (
            select log.attempt, log.status, log.response_status_code, log.error_message, log.response_excerpt, log.attempted_at,
                log.next_attempt_at, log.response_time_ms
            from public.webhook_delivery_attempts as log
            where log.delivery_id = webhook_event.delivery_id
        ) as made;
    end if;
end
$$;

comment on function public.webhook_request(uuid) is
    'What a delivery sends: URL, headers and body of its last request, by the endpoint''s present URL, headers and secret; how to verify it; and each request made, for operators with the address that was called and where the time went (milliseconds). Null is what is gone: with the endpoint URL and headers, with the event headers and body. Unknown delivery: PT404';

create function webhook_delivery.wait_for_delivery(delivery_id uuid, at_most interval default '30 seconds') returns text
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    deadline constant timestamptz := clock_timestamp() + at_most;
    found_status text;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'a transaction that sees one moment only cannot wait for another',
            hint = 'Use isolation level read committed.';
    end if;
    if exists (
        select from webhook_delivery.queue as waiting
        where waiting.delivery_id = wait_for_delivery.delivery_id
            and waiting.xmin::text::bigint = pg_current_xact_id_if_assigned()::text::bigint % 4294967296)
    then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('webhook delivery %s was queued by this transaction, and is sent when that commits', delivery_id),
            hint = 'Commit, then wait.';
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
    'Waits until a delivery has ended, at most so long, and returns its status: success or failed, or what it then is. For scripts. Unknown delivery: PT404; queued by the same transaction, or in one that is not read committed: 55000';
