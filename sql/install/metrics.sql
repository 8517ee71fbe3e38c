-- Metrics for a monitoring system.

create view webhook_delivery.metrics as
    with status as materialized (select * from webhook_delivery.status)
    select 'webhook_delivery_' || known.metric as metric, known.type, known.help, ''::text as auction_id, ''::text as endpoint_id, known.value
    from status
    cross join webhook_delivery.worker_report() as worker
    cross join lateral (values
        ('requests_in_flight', 'gauge', 'Requests in flight', worker.requests_in_flight::double precision),
        ('attempts_to_record', 'gauge', 'Attempts that have ended and are not in the history yet', worker.attempts_to_record),
        ('delivered_total', 'counter', 'Deliveries that have succeeded since the worker began', worker.delivered),
        ('failed_total', 'counter', 'Deliveries that have failed for good since the worker began', worker.failed),
        ('failed_attempts_total', 'counter', 'Requests that have failed since the worker began', worker.failed_attempts)
    ) as known (metric, type, help, value)
    union all
    select 'webhook_delivery_' || known.metric, known.type, known.help, '', '', known.value
    from status
    cross join lateral (values
        ('up', 'gauge', '1 while the worker sends, 0 where it is paused, fails or is not there; none on a standby',
            (status.state = 'sending')::integer::double precision),
        ('queued', 'gauge', 'Deliveries still to be made', status.queued),
        ('due', 'gauge', 'Of these, those whose time has come and whose endpoint receives', status.due),
        ('lag_seconds', 'gauge', 'Since when the oldest of those is due',
            coalesce(extract(epoch from pg_catalog.now() - status.oldest_due_at), 0)),
        ('capture_errors', 'gauge', 'Events that could not be built', (select count(*) from webhook_delivery.capture_errors))
    ) as known (metric, type, help, value)
    -- A standby has no metric up: if the primary does not send, the alert of the primary fires, and
    -- the alert of each replica would fire with it.
    where known.metric <> 'up' or status.state <> 'standby'
    union all
    select 'webhook_delivery_auction_events_per_minute', 'gauge',
        'Events in the last minute, of auctions with webhook_delivery.busy_events_per_minute and more', busy.auction_id::text, '', busy.events
    from webhook_delivery.busy_auctions() as busy
    union all
    select 'webhook_delivery_endpoint_' || known.metric, 'gauge', known.help, endpoint.auction_id::text, endpoint.id::text, known.value
    from webhook_delivery.endpoint_targets as endpoint
    left join webhook_delivery.endpoint_health as health on health.endpoint_id = endpoint.id
    left join webhook_delivery.endpoint_backlog() as waiting on waiting.endpoint_id = endpoint.id
    cross join lateral (values
        ('receives', '1 while the endpoint is enabled and not paused', (endpoint.is_active and not endpoint.is_paused)::integer::double precision),
        ('queued', 'Deliveries to the endpoint still to be made', coalesce(waiting.deliveries, 0)),
        ('consecutive_failures', 'Deliveries in a row that have used up all of their attempts', coalesce(health.failed_deliveries, 0)),
        ('failing_seconds', 'Since when its attempts fail', coalesce(extract(epoch from pg_catalog.now() - health.failing_since), 0))
    ) as known (metric, help, value);

comment on view webhook_delivery.metrics is 'Metrics for a Prometheus exporter: one row for each metric and label set. See webhook_delivery.grant_monitor()';
comment on column webhook_delivery.metrics.metric is 'Name of the metric';
comment on column webhook_delivery.metrics.type is 'Type of the metric: gauge or counter';
comment on column webhook_delivery.metrics.help is 'Description of the metric';
comment on column webhook_delivery.metrics.auction_id is 'Label: auction; empty if the metric is not of one auction';
comment on column webhook_delivery.metrics.endpoint_id is 'Label: endpoint; empty if the metric is not of one endpoint';
comment on column webhook_delivery.metrics.value is 'Value of the metric; null if the queue is locked';

create function webhook_delivery.grant_monitor(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant select on webhook_delivery.status, webhook_delivery.metrics to %s', grantee);
    execute format('grant execute on function webhook_delivery.worker_report(), webhook_delivery.worker_state(text, integer, text, text),
        webhook_delivery.queue_depth(),
        webhook_delivery.endpoint_backlog(), webhook_delivery.busy_auctions(), webhook_delivery.launcher_state(), webhook_delivery.access_problem(),
        webhook_delivery.citus_lacks_configuration(),
        webhook_delivery.system_identifier(), webhook_delivery.database_oid(), webhook_delivery.restore_id() to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_monitor(regrole) is
    'Grants a monitoring system''s role what it reads: webhook_delivery.status and webhook_delivery.metrics. These identify auctions and endpoints by their ids, and show neither URLs nor data';
