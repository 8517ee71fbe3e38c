-- The health of endpoints, and the diagnosis of one that receives nothing.

-- A tenant learns of these tables what concerns an endpoint that the tenant sees.
alter table webhook_delivery.endpoint_health enable row level security;
create policy who_sees_the_endpoint on webhook_delivery.endpoint_health for select
    using (endpoint_id in (select endpoint.id from public.webhook_endpoints as endpoint));
comment on policy who_sees_the_endpoint on webhook_delivery.endpoint_health is 'webhook_endpoint_health reads with the caller''s rights';

alter table webhook_delivery.pauses enable row level security;
create policy administrators_of_the_auction on webhook_delivery.pauses for select
    using (auction_id = any (array(select webhook_delivery.administered_auctions()))
        or endpoint_id in (select endpoint.id from public.webhook_endpoints as endpoint));
comment on policy administrators_of_the_auction on webhook_delivery.pauses is 'webhook_endpoint_health reads with the caller''s rights';

create view public.webhook_endpoint_health with (security_invoker) as
    select
        endpoint.id as endpoint_id,
        endpoint.auction_id,
        endpoint.is_active,
        endpoint.disabled_at,
        endpoint.disabled_reason,
        (select min(pause.paused_at) from webhook_delivery.pauses as pause
            where pause.endpoint_id = endpoint.id or pause.auction_id = endpoint.auction_id) as paused_at,
        ended.delivered as delivered_24h,
        ended.failed as failed_24h,
        ended.delivered / nullif(ended.delivered + ended.failed, 0)::double precision as success_rate_24h,
        latest.p50 as response_time_p50_ms,
        latest.p95 as response_time_p95_ms,
        health.failing_since,
        coalesce(health.failed_deliveries, 0) as consecutive_failures,
        coalesce(waiting.deliveries, 0) as queued,
        waiting.next_attempt_at
    from public.webhook_endpoints as endpoint
    left join webhook_delivery.endpoint_health as health
        on health.endpoint_id = endpoint.id and health.failing_since >= endpoint.updated_at
    cross join lateral (
        select count(*) filter (where log.delivery_status = 'success') as delivered,
            count(*) filter (where log.delivery_status = 'failed') as failed
        from webhook_delivery.attempts_ended as log
        where log.endpoint_id = endpoint.id and log.created_at > pg_catalog.now() - interval '24 hours'
    ) as ended
    cross join lateral (
        select percentile_disc(0.5) within group (order by recent.response_time_ms) as p50,
            percentile_disc(0.95) within group (order by recent.response_time_ms) as p95
        from (
            select log.response_time_ms
            from webhook_delivery.attempts_ended as log
            where log.endpoint_id = endpoint.id and log.created_at > pg_catalog.now() - interval '24 hours'
            order by log.created_at desc
            limit 1000
        ) as recent
    ) as latest
    left join (
        select counted.endpoint_id, sum(counted.deliveries)::bigint as deliveries, min(counted.next_attempt_at) as next_attempt_at
        from webhook_delivery.queue_counts as counted
        group by counted.endpoint_id
    ) as waiting on waiting.endpoint_id = endpoint.id;

comment on view public.webhook_endpoint_health is 'How each endpoint does that you may see';
comment on column public.webhook_endpoint_health.endpoint_id is 'The endpoint';
comment on column public.webhook_endpoint_health.auction_id is 'Its auction';
comment on column public.webhook_endpoint_health.is_active is 'Whether it receives';
comment on column public.webhook_endpoint_health.disabled_at is 'When the server disabled it';
comment on column public.webhook_endpoint_health.disabled_reason is 'Why';
comment on column public.webhook_endpoint_health.paused_at is 'When the operator stopped sending to it or to its auction; what happens meanwhile is queued';
comment on column public.webhook_endpoint_health.delivered_24h is 'Deliveries queued in the last 24 hours that have succeeded, tests included';
comment on column public.webhook_endpoint_health.failed_24h is 'Deliveries queued in the last 24 hours that have used up all of their attempts, tests included';
comment on column public.webhook_endpoint_health.success_rate_24h is 'The part of both that has succeeded, 0 to 1; null where there are none';
comment on column public.webhook_endpoint_health.response_time_p50_ms is 'Half of the latest thousand of these were answered within this number of milliseconds';
comment on column public.webhook_endpoint_health.response_time_p95_ms is 'Nineteen of twenty were';
comment on column public.webhook_endpoint_health.failing_since is 'When the first attempt failed after the last success; null while it succeeds';
comment on column public.webhook_endpoint_health.consecutive_failures is 'Deliveries in a row that have used up all of their attempts since then';
comment on column public.webhook_endpoint_health.queued is 'Deliveries that wait for an attempt';
comment on column public.webhook_endpoint_health.next_attempt_at is 'When the next of them is due';

create trigger webhook_endpoint_health_is_read_only instead of insert or update or delete on public.webhook_endpoint_health
    for each row execute function webhook_delivery.refuse_to_change_history();

create function webhook_delivery.diagnose_failure(error_message text, response_status_code integer) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    select case
        when response_status_code in (401, 403) then
            'The receiver lets nobody in: verify the signature with the secret of this endpoint, or give it the header that it wants in webhook_endpoints.headers. A firewall of yours may ask for something as well.'
        when response_status_code in (404, 405) then 'Nobody takes a POST there: correct url.'
        when response_status_code = 410 then 'The receiver says that it wants no more. Where that is wrong, mend it and set is_active to true.'
        when response_status_code = 413 then 'The body is too large for the receiver: raise its limit.'
        when response_status_code = 429 then 'The receiver gets too many: set max_per_second, or raise its limit.'
        when response_status_code between 300 and 399 then 'Redirects are not followed: set url to where it leads.'
        when response_status_code >= 500 then 'The receiver has failed: see its log, at the times of webhook_delivery_attempts.'
        when response_status_code >= 400 then 'The receiver refuses the request: see response_excerpt in webhook_delivery_attempts.'
        when error_message like 'TLS:%' then 'The certificate must be valid for the name in url and come with its chain, of an authority that everybody trusts.'
        when error_message like 'could not resolve%' then 'The name in url has no address: correct it, or its DNS entry.'
        when error_message like 'address not allowed%' then 'url must lead to the public internet.'
        when error_message like 'timed out%' then 'Answer first and do the work afterwards; or nobody is there: does a firewall drop the connection?'
        when error_message like 'connection refused%' then 'Nobody listens there: start the receiver, or correct the port in url.'
        when error_message like 'the payload has%' then 'The event is larger than webhook_delivery.max_payload, which an operator may raise.'
        when error_message like 'cancelled%' then 'redeliver_webhook() sends it after all.'
        else 'See error_message and response_excerpt in webhook_delivery_attempts.'
    end
    $$;

comment on function webhook_delivery.diagnose_failure(text, integer) is 'What to do about an attempt that failed with this error and HTTP status';

-- Runs with the caller's rights: it shows what the caller sees.
create function public.diagnose_webhook(endpoint_id uuid)
    returns table ("check" text, is_fine boolean, result text, what_to_do text)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    endpoint public.webhook_endpoints;
    health public.webhook_endpoint_health;
    seen record;
    latest record;
    request_timeout constant numeric := extract(epoch from current_setting('webhook_delivery.request_timeout')::interval) * 1000;
begin
    select known.* into endpoint from public.webhook_endpoints as known where known.id = diagnose_webhook.endpoint_id;
    if not found then
        perform webhook_delivery.refuse_unknown_endpoint(diagnose_webhook.endpoint_id);
    end if;
    select known.* into health from public.webhook_endpoint_health as known where known.endpoint_id = endpoint.id;
    select examined.* into seen from webhook_delivery.diagnose_endpoint(endpoint.id) as examined;

    "check" := 'Is it enabled?';
    is_fine := endpoint.is_active;
    result := case
        when endpoint.is_active then 'Yes.'
        when endpoint.disabled_at is not null then
            format('No: the server disabled it at %s: %s.', webhook_delivery.iso_time(endpoint.disabled_at), endpoint.disabled_reason)
        else 'No: is_active is false. New events are not queued for it.'
    end;
    what_to_do := case when not endpoint.is_active then
        'Mend what is wrong below, then: ' || format('update webhook_endpoints set is_active = true where id = %L. What waits for it is sent then.', endpoint.id) end;
    return next;

    "check" := 'Does the database send?';
    is_fine := seen.state in ('sending', 'standby') and not seen.is_paused;
    result := case
        when seen.is_paused then format('Not to this endpoint: paused by the operator since %s.', webhook_delivery.iso_time(health.paused_at))
        when seen.state = 'sending' then 'Yes.'
        when seen.state = 'standby' then 'Not from this server, which is a standby: the primary sends.'
        when seen.state = 'no worker' then 'No: there is no worker.'
        else format('No: %s.', seen.state)
    end;
    what_to_do := case when not is_fine then
        'The operator sees why in webhook_delivery.status, and sends again with webhook_delivery.resume(). What happens meanwhile is queued.' end;
    return next;

    select delivery.event_type, delivery.status, delivery.created_at into latest
    from public.webhook_deliveries as delivery
    where delivery.endpoint_id = endpoint.id and not delivery.is_test
    order by delivery.created_at desc limit 1;
    "check" := 'Which events does it want, and has there been one?';
    is_fine := latest.created_at is not null;
    result := format('It wants %s. ', array_to_string(endpoint.events, ', ')) || case
        when latest.created_at is null then 'Nothing was ever queued for it.'
        else format('The latest: %s at %s, now %s.', latest.event_type, webhook_delivery.iso_time(latest.created_at), latest.status)
    end;
    what_to_do := case when latest.created_at is null then
        'Select the types of what you expect: select event_type, description from webhook_event_types. What happened before the endpoint was there: replay_webhooks(). To try it: test_webhook().' end;
    return next;

    if cardinality(seen.without_trigger || seen.with_disabled_trigger) > 0 then
        "check" := 'Do the application''s tables make these events?';
        is_fine := case when cardinality(seen.with_disabled_trigger) > 0 then false end;
        result := concat_ws(' ',
            case when cardinality(seen.with_disabled_trigger) > 0 then
                format('A trigger of %s is disabled.', array_to_string(seen.with_disabled_trigger, ', ')) end,
            case when cardinality(seen.without_trigger) > 0 then
                format('No trigger makes %s.', array_to_string(seen.without_trigger, ', ')) end);
        what_to_do := concat_ws(' ',
            case when cardinality(seen.with_disabled_trigger) > 0 then
                'The owner of the tables enables it: alter table ... enable trigger ...' end,
            case when cardinality(seen.without_trigger) > 0 then
                'The owner of the tables attaches what is missing: select * from webhook_delivery.install_triggers(), or webhook_delivery.row_event() for a table of its own. Where the application calls emit() for them, nothing is to be done.' end);
        return next;
    end if;

    if cardinality(seen.not_built) > 0 then
        "check" := 'Could its events be built?';
        is_fine := false;
        result := format('Some could not: %s. Where the event does not say whose it was, it may have been another auction''s.', array_to_string(seen.not_built, ', '));
        what_to_do := 'The operator sees why in webhook_delivery.capture_errors, and sends them with webhook_delivery.recapture(id) once the cause is gone.';
        return next;
    end if;

    "check" := 'Is its address allowed, and does its name resolve?';
    is_fine := seen.problem is null;
    result := case
        when seen.problem is null then format('Yes: %s leads to %s.', endpoint.url, seen.addresses)
        else format('No: %s: %s.', endpoint.url, seen.problem)
    end;
    what_to_do := case when seen.problem is not null then webhook_delivery.diagnose_failure(seen.problem, null) end;
    return next;

    select count(*) as made, count(*) filter (where recent.status = 'failed') as failed,
        (array_agg(recent.error_message order by recent.attempted_at desc) filter (where recent.status = 'failed'))[1] as error_message,
        (array_agg(recent.response_status_code order by recent.attempted_at desc) filter (where recent.status = 'failed'))[1] as status_code,
        max(recent.attempted_at) filter (where recent.status = 'failed') as failed_at,
        (array_agg(recent.status order by recent.attempted_at desc))[1] as last_status
    into latest
    from (
        select attempt.status, attempt.error_message, attempt.response_status_code, attempt.attempted_at
        from (
            select delivery.id from public.webhook_deliveries as delivery
            where delivery.endpoint_id = endpoint.id
            order by delivery.created_at desc limit 20
        ) as delivery
        join public.webhook_delivery_attempts as attempt on attempt.delivery_id = delivery.id
        order by attempt.attempted_at desc limit 20
    ) as recent;
    "check" := 'How did the last requests end?';
    is_fine := case when latest.made > 0 then latest.last_status = 'success' end;
    result := case
        when latest.made = 0 then 'None was made.'
        when latest.failed = 0 then format('The last %s have succeeded.', latest.made)
        else format('%s of the last %s have failed; the last of these at %s: %s.', latest.failed, latest.made,
            webhook_delivery.iso_time(latest.failed_at), latest.error_message)
    end;
    what_to_do := case
        when latest.failed > 0 then webhook_delivery.diagnose_failure(latest.error_message, latest.status_code)
            || ' Then: recover_webhooks() sends again what has failed.'
        when latest.made = 0 then 'To try it: test_webhook().'
    end;
    return next;

    "check" := 'How is the signature verified?';
    is_fine := seen.secret_form is not null and (latest.status_code is null or latest.status_code not in (401, 403));
    result := case seen.secret_form
        when 'whsec' then 'The secret begins with whsec_. X-Webhook-Signature: its key is the whole text. webhook-signature: what follows whsec_, decoded from base64; a Standard Webhooks library does that itself.'
        when 'own' then 'The secret is one of your own, and its bytes are the key. A Standard Webhooks library wants it as whsec_ and its base64.'
        else 'It has no secret.'
    end || coalesce(' Until ' || webhook_delivery.iso_time(seen.previous_secret_until)
        || ' webhook-signature carries the signature of the previous secret as well; X-Webhook-Signature does not.', '');
    what_to_do := case
        when seen.secret_form is null then format('Set one: select rotate_webhook_secret(%L)', endpoint.id)
        when not is_fine then 'The body is to be verified as it came, to the byte, before it is parsed. webhook_request() shows body, headers and signature of a delivery.'
    end;
    return next;

    "check" := 'Does it answer in time?';
    is_fine := coalesce(health.response_time_p95_ms < request_timeout / 2, true);
    result := case
        when health.response_time_p95_ms is null then 'It was not asked in the last 24 hours.'
        else format('Half of its answers take up to %s ms, and one of twenty more than %s ms. After %s s it is a failure.',
            health.response_time_p50_ms, health.response_time_p95_ms, round(request_timeout / 1000, 1))
    end;
    what_to_do := case when not is_fine then
        'Answer first and do the work afterwards. What is answered too late is sent again: so the same webhook comes twice, and its webhook_id tells.' end;
    return next;

    "check" := 'Does anything wait for it?';
    is_fine := health.queued = 0 or health.next_attempt_at > now() - interval '1 minute';
    result := case
        when health.queued = 0 then 'Nothing.'
        else format('%s deliveries; the next attempt is due at %s.', health.queued, webhook_delivery.iso_time(health.next_attempt_at))
    end || case when health.consecutive_failures > 0 then
        format(' %s in a row have used up all of their attempts, since %s.', health.consecutive_failures,
            webhook_delivery.iso_time(health.failing_since)) else '' end;
    what_to_do := case
        when is_fine then null
        when endpoint.ordered then 'It is ordered: the first that fails holds up all behind it. redeliver_webhook() tries that again now, cancel_webhook() gives it up.'
        when endpoint.max_per_second is not null then format('It takes %s a second: raise max_per_second.', endpoint.max_per_second)
        else 'They go out as fast as it answers, once what is wrong above is mended.'
    end;
    return next;
end
$$;

comment on function public.diagnose_webhook(uuid) is
    'Why does an endpoint not receive? A row for each check: whether it is fine (null: that is yours to say), what was found, and what to do. Its name is looked up, which takes two seconds at most. Unknown endpoint: PT404';
