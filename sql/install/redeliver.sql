-- Functions that redeliver, recover, replay and cancel deliveries.

create function webhook_delivery.refuse_unknown_delivery(delivery_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    raise exception using
        errcode = 'PT404',
        message = format('webhook delivery %s does not exist', delivery_id),
        hint = webhook_delivery.query_hint('select id, status from public.webhook_deliveries', '/webhook_deliveries?select=id,status',
            'the deliveries that you see');
end
$$;

comment on function webhook_delivery.refuse_unknown_delivery(uuid) is 'Raises PT404: the caller sees no such delivery';

create function webhook_delivery.redeliver(delivery_ids uuid[]) returns bigint
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    said text;
    advice text;
    at_most constant bigint := current_setting('webhook_delivery.redeliveries_per_minute');
begin
    -- Also deliveries that the caller does not see take time to look up.
    if cardinality(delivery_ids) > at_most and not webhook_delivery.is_operator() then
        raise exception using
            errcode = 'PT429',
            message = format('at most %s deliveries can be redelivered within a minute, not %s', at_most, cardinality(delivery_ids)),
            hint = 'Redeliver fewer, of a shorter period; or have an operator redeliver them, or raise webhook_delivery.redeliveries_per_minute.';
    end if;
    return webhook_delivery.redeliver_visible(delivery_ids);
exception when configuration_limit_exceeded then
    get stacked diagnostics said = message_text, advice = pg_exception_hint;
    raise exception using errcode = 'PT429', message = said, hint = advice;
end
$$;

comment on function webhook_delivery.redeliver(uuid[]) is
    'Redelivers those of these deliveries that the caller sees and whose endpoint and event still exist, each with the whole retry schedule: select webhook_delivery.redeliver(array_agg(id)) from webhook_deliveries where ... Returns the number of deliveries that are sent again. For each endpoint, webhook_delivery.redeliveries_per_second become due each second, oldest first. Raises PT429 for more than webhook_delivery.redeliveries_per_minute of an auction within a minute; operators have no limit';

-- The public functions run with the caller's rights, which decide which deliveries the caller sees.
create function public.redeliver_webhook(delivery_id uuid) returns public.webhook_queued_delivery
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    delivery record;
begin
    perform webhook_delivery.redeliver(array[delivery_id]);
    select known.status, known.is_test, known.completed_at, known.next_attempt_at into delivery
    from public.webhook_deliveries as known where known.id = delivery_id;
    if not found then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    elsif delivery.is_test then
        raise exception using
            errcode = 'PT409',
            message = format('cannot redeliver webhook delivery %s because it is a test', delivery_id),
            hint = 'Call test_webhook() again.';
    elsif delivery.completed_at is not null then
        raise exception using
            errcode = 'PT410',
            message = format('cannot redeliver webhook delivery %s because its event or endpoint does not exist', delivery_id),
            hint = 'Events are kept for webhook_delivery.retention. To send them to an endpoint with another id, call replay_webhooks().';
    elsif delivery.next_attempt_at is null then
        raise exception using
            errcode = 'PT409',
            message = format('cannot redeliver webhook delivery %s because it is about to end', delivery_id),
            hint = 'Try again when the delivery has ended.';
    end if;
    return webhook_delivery.queued_delivery(delivery_id, delivery.status);
end
$$;

comment on function public.redeliver_webhook(uuid) is
    'Redelivers a delivery, even one that succeeded: the same webhook_id, the same bytes, the whole retry schedule. A delivery that waits for another attempt has it now. Raises PT404 for an unknown delivery, PT410 if its event or endpoint was deleted, PT409 for a test and for a delivery that is about to end';

create function public.redeliver_webhooks(delivery_ids uuid[]) returns bigint
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(webhook_delivery.redeliver(delivery_ids), 0) $$;

comment on function public.redeliver_webhooks(uuid[]) is
    'Redelivers those of these deliveries that you see and whose endpoint and event still exist, tests excepted, as redeliver_webhook() does, oldest first, webhook_delivery.redeliveries_per_second each second. Returns the number of deliveries that are sent again. Raises PT429 for more than webhook_delivery.redeliveries_per_minute';

create function webhook_delivery.check_period(since timestamptz, until timestamptz) returns void
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if since > until then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('since must not be after until, but %s is after %s', since, until),
            hint = 'Exchange the two times.';
    end if;
end
$$;

comment on function webhook_delivery.check_period(timestamptz, timestamptz) is 'Raises 22023 if a period ends before it begins';

create function public.recover_webhooks(
    endpoint_id uuid, since timestamptz, until timestamptz default pg_catalog.now(), only_failed boolean default true,
    dry_run boolean default false
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    wanted_status constant public.webhook_delivery_status[] := case when only_failed then '{failed, retrying}' else '{failed, retrying, success}' end;
    number bigint;
    present constant timestamptz := clock_timestamp();
    -- One more than the limit of a tenant, so that redeliver() raises an error without an array of
    -- millions of deliveries.
    at_most constant bigint := case when not webhook_delivery.is_operator() then
        current_setting('webhook_delivery.redeliveries_per_minute')::bigint + 1 end;
begin
    -- A null dry_run would count as false.
    if num_nulls(since, until, only_failed, dry_run) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'since, until, only_failed and dry_run cannot be null',
            hint = 'Omit an argument to use its default.';
    end if;
    perform webhook_delivery.check_period(since, until);
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    if dry_run then
        select count(*) into number
        from public.webhook_deliveries as delivery
        where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
            and delivery.status = any (wanted_status) and not delivery.is_test
            -- What is due already is sent without this call.
            and (delivery.completed_at is not null or delivery.next_attempt_at > present);
    else
        select webhook_delivery.redeliver(array_agg(found.id)) into number
        from (
            select delivery.id from public.webhook_deliveries as delivery
            where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
                and delivery.status = any (wanted_status) and not delivery.is_test
                and (delivery.completed_at is not null or delivery.next_attempt_at > present)
            limit at_most
        ) as found;
    end if;
    return coalesce(number, 0);
end
$$;

comment on function public.recover_webhooks(uuid, timestamptz, timestamptz, boolean, boolean) is
    'Redelivers the deliveries of an endpoint that were queued (created_at) from since until before until: those that failed or wait for another attempt, and with only_failed => false those that succeeded too. Oldest first, webhook_delivery.redeliveries_per_second each second, so that new events do not wait behind them. Returns the number of deliveries that are sent again, without those that are due within a second anyway; with dry_run => true only counts them. Raises PT404 for an unknown endpoint, PT429 for more than webhook_delivery.redeliveries_per_minute, 22004 for a null';

create function public.replay_webhooks(
    endpoint_id uuid, since timestamptz, until timestamptz default pg_catalog.now(), events text[] default null
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    said text;
    advice text;
begin
    if num_nulls(since, until) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'since and until cannot be null',
            hint = 'Omit an argument to use its default.';
    end if;
    perform webhook_delivery.check_period(since, until);
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    perform webhook_delivery.check_endpoint_events(events);
    if events is null then
        select endpoint.events into strict events
        from public.webhook_endpoints as endpoint where endpoint.id = replay_webhooks.endpoint_id;
    end if;
    return coalesce(webhook_delivery.replay(endpoint_id, since, until, events), 0);
exception when configuration_limit_exceeded then
    get stacked diagnostics said = message_text, advice = pg_exception_hint;
    raise exception using errcode = 'PT429', message = said, hint = advice;
end
$$;

comment on function public.replay_webhooks(uuid, timestamptz, timestamptz, text[]) is
    'Sends the events from since until before until that an endpoint has not received, as new deliveries: events of these types, or of those that it subscribes to. Only events that some endpoint subscribed to at the time exist, and only for webhook_delivery.retention. Oldest first and at the pace of recover_webhooks(). Returns the number of deliveries. Raises PT404 for an unknown endpoint, 22023 for an unknown event type, PT429 for more than webhook_delivery.redeliveries_per_minute, 22004 for a null time';

create function public.cancel_webhook(delivery_id uuid) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    waits boolean;
begin
    if webhook_delivery.cancel(array[delivery_id]) > 0 then
        return;
    end if;
    select delivery.completed_at is null into waits from public.webhook_deliveries as delivery where delivery.id = delivery_id;
    if waits is null then
        perform webhook_delivery.refuse_unknown_delivery(delivery_id);
    elsif not waits then
        raise exception using
            errcode = 'PT409',
            message = format('webhook delivery %s has ended', delivery_id),
            hint = webhook_delivery.query_hint('select status, completed_at from public.webhook_deliveries',
                '/webhook_deliveries?select=status,completed_at', 'how');
    end if;
end
$$;

comment on function public.cancel_webhook(uuid) is
    'Cancels a delivery that waits: it has no further attempt, and ends as failed with the error "cancelled". A request in flight is not stopped, and may still succeed. Raises PT404 for an unknown delivery, PT409 for one that has ended';
