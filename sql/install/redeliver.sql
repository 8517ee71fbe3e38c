-- Redeliver, recover, replay, cancel.

create function webhook_delivery.refuse_unknown_delivery(delivery_id uuid) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    raise exception using
        errcode = 'PT404',
        message = format('there is no webhook delivery %s', delivery_id),
        hint = 'select id, status from public.webhook_deliveries shows the deliveries that you see.';
end
$$;

comment on function webhook_delivery.refuse_unknown_delivery(uuid) is
    'Says (PT404) that the caller sees no such delivery';

create function webhook_delivery.redeliver(delivery_ids uuid[]) returns bigint
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    said text;
    advice text;
begin
    return webhook_delivery.redeliver_visible(delivery_ids);
exception when configuration_limit_exceeded then
    get stacked diagnostics said = message_text, advice = pg_exception_hint;
    raise exception using errcode = 'PT429', message = said, hint = advice;
end
$$;

comment on function webhook_delivery.redeliver(uuid[]) is
    'Sends those of these deliveries again that the caller sees and whose endpoint and event are still there, each with a whole schedule of attempts: select webhook_delivery.redeliver(array_agg(id)) from webhook_deliveries where ... Returns how many. Of each endpoint webhook_delivery.redeliveries_per_second come due each second, oldest first. More than webhook_delivery.redeliveries_per_minute of an auction within a minute: PT429. Operators have no limit';

-- These run with the caller's rights, which decide what the caller sees.
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
            message = format('webhook delivery %s is a test', delivery_id),
            hint = 'Call test_webhook() again.';
    elsif delivery.completed_at is not null then
        raise exception using
            errcode = 'PT410',
            message = format('webhook delivery %s cannot be sent again: its event or its endpoint is gone', delivery_id),
            hint = 'Events are kept for webhook_delivery.retention. An endpoint of another id gets them with replay_webhooks().';
    elsif delivery.next_attempt_at is null then
        raise exception using
            errcode = 'PT409',
            message = format('webhook delivery %s was cancelled just now', delivery_id),
            hint = 'Try again when it has ended.';
    end if;
    return row(delivery_id, delivery.status, webhook_delivery.follow_delivery(delivery_id));
end
$$;

comment on function public.redeliver_webhook(uuid) is
    'Sends a delivery again, also one that succeeded: the same webhook_id, the same bytes, a whole schedule of attempts. One that waits for another attempt has it now. Unknown delivery: PT404; its event or endpoint is gone: PT410; a test: PT409';

create function public.recover_webhooks(
    endpoint_id uuid, since timestamptz, until timestamptz default pg_catalog.now(), only_failed boolean default true,
    dry_run boolean default false
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    wanted_status constant public.webhook_delivery_status[] := case when only_failed then '{failed}' else '{failed, success}' end;
    number bigint;
    -- One more than a tenant may, so that it is told: of millions not all are gathered.
    at_most constant bigint := case when not webhook_delivery.is_operator() then
        current_setting('webhook_delivery.redeliveries_per_minute')::bigint + 1 end;
begin
    -- A dry run that is null would be none.
    if num_nulls(since, until, only_failed, dry_run) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'since, until, only_failed and dry_run cannot be null',
            hint = 'Leave an argument out to have its default.';
    end if;
    if webhook_delivery.visible_auction(endpoint_id) is null then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    if dry_run then
        select count(*) into number
        from public.webhook_deliveries as delivery
        where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
            and delivery.status = any (wanted_status) and not delivery.is_test;
    else
        select webhook_delivery.redeliver(array_agg(found.id)) into number
        from (
            select delivery.id from public.webhook_deliveries as delivery
            where delivery.endpoint_id = recover_webhooks.endpoint_id and delivery.created_at >= since and delivery.created_at < until
                and delivery.status = any (wanted_status) and not delivery.is_test
            limit at_most
        ) as found;
    end if;
    return coalesce(number, 0);
end
$$;

comment on function public.recover_webhooks(uuid, timestamptz, timestamptz, boolean, boolean) is
    'Sends again what an endpoint was to receive from since until before until, by created_at: what failed, or with only_failed => false everything that has ended. Oldest first, webhook_delivery.redeliveries_per_second of it each second, so that new events do not wait behind it. Returns how many deliveries these are; with dry_run => true nothing more. Unknown endpoint: PT404; more than webhook_delivery.redeliveries_per_minute: PT429; a null: 22004';

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
            hint = 'Leave an argument out to have its default.';
    end if;
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
    'Sends an endpoint what has happened from since until before until and it has not had, as new deliveries: events of these types, or of those that it subscribes to. There are the events that some endpoint wanted then, for webhook_delivery.retention. Oldest first and at the pace of recover_webhooks(). Returns how many. Unknown endpoint: PT404; unknown type, or more than webhook_delivery.redeliveries_per_minute: PT429; a null time: 22004';

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
            hint = 'select status, completed_at from public.webhook_deliveries shows how.';
    end if;
end
$$;

comment on function public.cancel_webhook(uuid) is
    'No further attempt of a delivery that waits: it ends as failed, with the error "cancelled". A request that is in flight is let end, and may still succeed. Unknown delivery: PT404; one that has ended: PT409';
