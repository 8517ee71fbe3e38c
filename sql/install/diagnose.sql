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
        select count(*) filter (where log.status = 'success') as delivered,
            count(*) filter (where log.status = 'failed') as failed
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

comment on view public.webhook_endpoint_health is 'Health of the endpoints that the caller sees: a row each';
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

create function public.webhook_endpoint_health(endpoint public.webhook_endpoints) returns setof public.webhook_endpoint_health
    language sql stable rows 1
    as $$ select * from public.webhook_endpoint_health as health where health.endpoint_id operator(pg_catalog.=) endpoint.id $$;

comment on function public.webhook_endpoint_health(public.webhook_endpoints) is 'Returns the health of an endpoint, for embedding by PostgREST';

create function public.webhook_endpoints(health public.webhook_endpoint_health) returns setof public.webhook_endpoints
    language sql stable rows 1
    as $$ select * from public.webhook_endpoints as endpoint where endpoint.id operator(pg_catalog.=) health.endpoint_id $$;

comment on function public.webhook_endpoints(public.webhook_endpoint_health) is 'Returns the endpoint of a row of webhook_endpoint_health, for embedding by PostgREST';

create function webhook_delivery.diagnose_failure(kind public.webhook_error_kind, response_status_code integer) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    select case
        when kind is null then null
        when response_status_code in (401, 403) then
            'The receiver refuses access: verify the signature with the secret of this endpoint, or send the header that the receiver expects (webhook_endpoints.headers). A firewall in front of it may expect one as well.'
        when response_status_code in (404, 405) then 'The receiver accepts no POST at this URL: correct url.'
        when response_status_code = 410 then 'The receiver wants no more deliveries. If it does, correct the receiver and set is_active to true.'
        when response_status_code = 413 then 'The body is too large for the receiver: raise its limit.'
        when response_status_code = 429 then 'The receiver gets too many requests: set max_per_second, or raise its limit.'
        when response_status_code between 300 and 399 then 'Redirects are not followed: set url to where it leads.'
        when response_status_code >= 500 then 'The receiver has failed: see its log, at the times of webhook_delivery_attempts.'
        when response_status_code >= 400 then 'The receiver refuses the request: see response_excerpt in webhook_delivery_attempts.'
        when kind = 'tls' then 'The certificate must be valid for the name in url, be issued by a public authority and be sent with its chain. If the receiver requires a client certificate, an operator can set webhook_delivery.client_certificate_file and webhook_delivery.client_key_file.'
        when kind = 'dns' then 'The name in url has no address: correct url, or the DNS entry.'
        when kind in ('address_not_allowed', 'invalid_url') then 'url must lead to the public internet.'
        when kind = 'timeout' then 'Answer first and do the work afterwards. If the receiver gets no request, a firewall may drop the connection.'
        when kind = 'connect' then 'The receiver accepts no connection: start it, or correct the port in url.'
        when kind = 'proxy' then 'The proxy of this server does not work: the operator is to look at webhook_delivery.proxy. This is no failure of the receiver.'
        when kind = 'disconnect' then 'The receiver, or a proxy in front of it, closed the connection before it answered: see its log.'
        when kind = 'payload_too_large' then 'The event is larger than webhook_delivery.max_payload, which an operator may raise.'
        when kind = 'cancelled' then 'redeliver_webhook() sends it after all.'
        else 'See error_message and response_excerpt in webhook_delivery_attempts.'
    end
    $$;

comment on function webhook_delivery.diagnose_failure(public.webhook_error_kind, integer) is
    'Returns what to do about an attempt that failed for this reason and with this HTTP status';

create type public.webhook_finding as (code text, question text, is_fine boolean, result text, what_to_do text);
revoke all on type public.webhook_finding from public;
comment on type public.webhook_finding is
    'A check of diagnose_webhook(): its code, for programs; what it asks; whether all is fine, null if only a person can say; what was found; what to do';

-- A check each, as the caller: a caller's diagnosis has what the caller can see.
create function webhook_delivery.diagnose_enabled(endpoint public.webhook_endpoints) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'enabled', 'Is it enabled?', endpoint.is_active,
        case
            when endpoint.is_active then 'Yes.'
            when endpoint.disabled_at is not null then
                format('No: the server disabled it at %s: %s.', webhook_delivery.iso_time(endpoint.disabled_at), endpoint.disabled_reason)
            else 'No: is_active is false. New events are not queued for it.'
        end,
        case when not endpoint.is_active then
            format('Correct what is wrong below, then: update webhook_endpoints set is_active = true where id = %L. Queued deliveries are sent then.', endpoint.id)
        end
    $$;

create function webhook_delivery.diagnose_sending(state text, is_paused boolean, paused_at timestamptz) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'sending', 'Does the database send?', checked.is_fine,
        case
            when is_paused then format('Not to this endpoint: paused by the operator since %s.', webhook_delivery.iso_time(paused_at))
            when state = 'sending' then 'Yes.'
            when state = 'standby' then 'Not from this server, which is a standby: the primary sends.'
            else format('No: %s.', state)
        end,
        case when not checked.is_fine then
            'The operator sees the reason in webhook_delivery.status, and resumes with webhook_delivery.resume(). Events are queued meanwhile.' end
    from (select state in ('sending', 'standby') and not is_paused as is_fine) as checked
    $$;

create function webhook_delivery.diagnose_events(endpoint public.webhook_endpoints) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'events', 'Which events does it receive, and was one queued?', case when latest.created_at is not null then true end,
        format('It receives %s%s. ', array_to_string(endpoint.events, ', '), ' if ' || endpoint.filter) || case
            when latest.created_at is null then 'Nothing was ever queued for it.'
            else format('The latest: %s at %s, now %s.', latest.event_type, webhook_delivery.iso_time(latest.created_at), latest.status)
        end,
        case when latest.created_at is null then
            'Select the event types that you expect: select event_type, description from webhook_event_types. replay_webhooks() sends events from before the endpoint existed, test_webhook() sends a test.'
            || case when endpoint.filter is not null then ' preview_webhook_filter() shows which of the latest events match the filter.' else '' end end
    from (values (1)) as one
    left join lateral (
        select delivery.event_type, delivery.status, delivery.created_at
        from public.webhook_deliveries as delivery
        where delivery.endpoint_id = endpoint.id and not delivery.is_test
        order by delivery.created_at desc limit 1
    ) as latest on true
    $$;

create function webhook_delivery.diagnose_triggers(missing text[], disabled text[]) returns setof public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'triggers', 'Do the application''s tables make these events?', case when cardinality(disabled) > 0 then false end,
        concat_ws(' ',
            case when cardinality(disabled) > 0 then format('A trigger of %s is disabled.', array_to_string(disabled, ', ')) end,
            case when cardinality(missing) > 0 then format('No trigger makes %s.', array_to_string(missing, ', ')) end),
        concat_ws(' ',
            case when cardinality(disabled) > 0 then 'The owner of the tables enables it: alter table ... enable trigger ...' end,
            case when cardinality(missing) > 0 then
                'The owner of the tables attaches the missing ones: select * from webhook_delivery.install_triggers(), or webhook_delivery.row_event() for another table. If the application calls emit() for these events, nothing is to be done.' end)
    where cardinality(missing || disabled) > 0
    $$;

create function webhook_delivery.diagnose_capture(not_built text[]) returns setof public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'capture', 'Could its events be built?', false,
        format('Some could not: %s. If an event does not say whose it was, it may have been another auction''s.', array_to_string(not_built, ', ')),
        'The operator sees the reason in webhook_delivery.capture_errors, and sends them with webhook_delivery.recapture(id) once the cause is gone.'
    where cardinality(not_built) > 0
    $$;

create function webhook_delivery.diagnose_address(
    endpoint public.webhook_endpoints, addresses text, problem_kind public.webhook_error_kind, problem text
) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'address', 'Is its address allowed, and does its name resolve?', problem is null,
        case
            when problem is null then format('Yes: %s leads to %s.', endpoint.url, addresses)
            else format('No: %s: %s.', endpoint.url, problem)
        end,
        webhook_delivery.diagnose_failure(problem_kind, null)
    $$;

create function webhook_delivery.recent_attempts(endpoint_id uuid) returns setof public.webhook_delivery_attempts
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select attempt.*
    from (
        select delivery.id from public.webhook_deliveries as delivery
        where delivery.endpoint_id = recent_attempts.endpoint_id
        order by delivery.created_at desc limit 20
    ) as delivery
    join public.webhook_delivery_attempts as attempt on attempt.delivery_id = delivery.id
    order by attempt.attempted_at desc limit 20
    $$;

create function webhook_delivery.diagnose_requests(endpoint_id uuid) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'requests', 'How did the last requests end?', case when recent.made > 0 then recent.last_status = 'success' end,
        case
            when recent.made = 0 then 'No request was made.'
            when recent.failed = 0 then format('The last %s succeeded.', recent.made)
            else format('%s of the last %s failed, most recently at %s: %s.', recent.failed, recent.made,
                webhook_delivery.iso_time(failure.attempted_at), failure.error_message)
        end,
        case
            when recent.failed > 0 then webhook_delivery.diagnose_failure(failure.error_kind, failure.response_status_code)
                || ' Then recover_webhooks() sends what has failed and what waits for another attempt.'
            when recent.made = 0 then 'test_webhook() sends a test.'
        end
    from (
        select count(*) as made, count(*) filter (where attempt.status = 'failed') as failed,
            (array_agg(attempt.status order by attempt.attempted_at desc))[1] as last_status
        from webhook_delivery.recent_attempts(endpoint_id) as attempt
    ) as recent
    left join (
        select attempt.* from webhook_delivery.recent_attempts(endpoint_id) as attempt
        where attempt.status = 'failed'
        order by attempt.attempted_at desc limit 1
    ) as failure on true
    $$;

create function webhook_delivery.diagnose_signature(endpoint_id uuid, secret_form text, previous_secret_until timestamptz)
    returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'signature', 'How is the signature verified?', checked.is_fine,
        case secret_form
            when 'whsec' then 'The secret begins with whsec_. X-Webhook-Signature: its key is the whole text. webhook-signature: its key is what follows whsec_, decoded from base64; a Standard Webhooks library does that itself.'
            when 'ed25519' then 'webhook-signature: with the public key of the endpoint (public_key). X-Webhook-Signature: with the secret.'
            when 'encrypted' then 'The secret cannot be decrypted.'
            when 'own' then 'The secret is one of your own, and its bytes are the key. A Standard Webhooks library takes it as whsec_ and its base64.'
            else 'It has no secret.'
        end || coalesce(' Until ' || webhook_delivery.iso_time(previous_secret_until)
            || ' webhook-signature carries the signature of the previous secret as well; X-Webhook-Signature does not.', ''),
        case
            when secret_form is null then format('Set one: select rotate_webhook_secret(%L)', endpoint_id)
            when secret_form = 'encrypted' then 'The operator finds the reason in webhook_delivery.status. Nothing is sent until the key is there.'
            when not checked.is_fine then 'Verify the body byte for byte as it was received, before it is parsed. webhook_request() shows body, headers and signature of a delivery.'
        end
    from (
        select secret_form is distinct from 'encrypted' and secret_form is not null and not exists (
            select from (
                select attempt.response_status_code from webhook_delivery.recent_attempts(endpoint_id) as attempt
                where attempt.status = 'failed'
                order by attempt.attempted_at desc limit 1
            ) as failure
            where failure.response_status_code in (401, 403)) as is_fine
    ) as checked
    $$;

create function webhook_delivery.diagnose_response_time(health public.webhook_endpoint_health) returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'response_time', 'Does it answer in time?', checked.is_fine,
        case
            when health.response_time_p95_ms is null then 'No request was made in the last 24 hours.'
            else format('The median of its response times is %s ms, the 95th percentile %s ms. After %s s a request fails.',
                health.response_time_p50_ms, health.response_time_p95_ms, round(checked.seconds, 1))
        end,
        case when not checked.is_fine then
            'Answer first and do the work afterwards. A response that is too late is a failure, and the delivery is sent again: the same webhook comes twice, with the same webhook_id.' end
    from (
        select timeout.seconds, coalesce(health.response_time_p95_ms < timeout.seconds * 500, true) as is_fine
        from (values (extract(epoch from current_setting('webhook_delivery.request_timeout')::interval))) as timeout (seconds)
    ) as checked
    $$;

create function webhook_delivery.diagnose_backlog(endpoint public.webhook_endpoints, health public.webhook_endpoint_health)
    returns public.webhook_finding
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select 'backlog', 'Are deliveries waiting for it?', checked.is_fine,
        case
            when health.queued = 0 then 'No.'
            when health.next_attempt_at is null then format('%s deliveries, which are about to end.', health.queued)
            else format('%s deliveries; the next attempt is due at %s.', health.queued, webhook_delivery.iso_time(health.next_attempt_at))
        end || case when health.consecutive_failures > 0 then
            format(' %s in a row have used up all of their attempts, since %s.', health.consecutive_failures,
                webhook_delivery.iso_time(health.failing_since)) else '' end,
        case
            when checked.is_fine then null
            when endpoint.ordered then 'The endpoint is ordered: a failed delivery holds up all behind it. redeliver_webhook() retries it now, cancel_webhook() gives it up.'
            when endpoint.max_per_second is not null then format('Its rate limit is %s a second: raise max_per_second.', endpoint.max_per_second)
            else 'They are sent as fast as it answers, once what is wrong above is corrected.'
        end
    from (select coalesce(health.queued = 0 or health.next_attempt_at > now() - interval '1 minute', true) as is_fine) as checked
    $$;

create function public.diagnose_webhook(endpoint_id uuid) returns setof public.webhook_finding
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    endpoint public.webhook_endpoints;
    health public.webhook_endpoint_health;
    facts record;
begin
    select known.* into endpoint from public.webhook_endpoints as known where known.id = diagnose_webhook.endpoint_id;
    if not found then
        perform webhook_delivery.refuse_unknown_endpoint(diagnose_webhook.endpoint_id);
    end if;
    select known.* into health from public.webhook_endpoint_health as known where known.endpoint_id = endpoint.id;
    select known.* into facts from webhook_delivery.diagnose_endpoint(endpoint.id) as known;
    return query select * from webhook_delivery.diagnose_enabled(endpoint);
    return query select * from webhook_delivery.diagnose_sending(facts.state, facts.is_paused, health.paused_at);
    return query select * from webhook_delivery.diagnose_events(endpoint);
    return query select * from webhook_delivery.diagnose_triggers(facts.without_trigger, facts.with_disabled_trigger);
    return query select * from webhook_delivery.diagnose_capture(facts.not_built);
    return query select * from webhook_delivery.diagnose_address(endpoint, facts.addresses, facts.problem_kind::public.webhook_error_kind, facts.problem);
    return query select * from webhook_delivery.diagnose_requests(endpoint.id);
    return query select * from webhook_delivery.diagnose_signature(endpoint.id, facts.secret_form, facts.previous_secret_until);
    return query select * from webhook_delivery.diagnose_response_time(health);
    return query select * from webhook_delivery.diagnose_backlog(endpoint, health);
end
$$;

comment on function public.diagnose_webhook(uuid) is
    'Returns why an endpoint receives nothing: a row for each check. Looks up the endpoint''s name, which takes two seconds at most. Unknown endpoint: PT404';

comment on function webhook_delivery.diagnose_enabled(public.webhook_endpoints) is 'Returns whether the endpoint is enabled, and if not, who disabled it';
comment on function webhook_delivery.diagnose_sending(text, boolean, timestamptz) is 'Returns whether the worker sends to the endpoint: its state, and whether the operator has paused the endpoint';
comment on function webhook_delivery.diagnose_events(public.webhook_endpoints) is 'Returns the event types of the endpoint and the latest delivery';
comment on function webhook_delivery.diagnose_triggers(text[], text[]) is 'Returns a row if events of the endpoint have no trigger or a disabled one';
comment on function webhook_delivery.diagnose_capture(text[]) is 'Returns a row if events of the endpoint could not be built';
comment on function webhook_delivery.diagnose_address(public.webhook_endpoints, text, public.webhook_error_kind, text) is 'Returns the addresses of the endpoint, or why no request is sent there';
comment on function webhook_delivery.recent_attempts(uuid) is 'Returns the latest 20 attempts at the latest 20 deliveries to an endpoint';
comment on function webhook_delivery.diagnose_requests(uuid) is 'Returns how the recent attempts ended, and what to do about the last failure';
comment on function webhook_delivery.diagnose_signature(uuid, text, timestamptz) is 'Returns how the receiver verifies the signature';
comment on function webhook_delivery.diagnose_response_time(public.webhook_endpoint_health) is 'Returns the response times of the last 24 hours, compared with webhook_delivery.request_timeout';
comment on function webhook_delivery.diagnose_backlog(public.webhook_endpoints, public.webhook_endpoint_health) is 'Returns how many deliveries wait for the endpoint, and why';
