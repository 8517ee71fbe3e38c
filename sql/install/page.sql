-- Functions that only the administrator's page calls.

create function public.webhook_auctions() returns table (auction_id uuid, name text)
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select known.auction_id, known.name from webhook_delivery.named_auctions() as known order by known.name, known.auction_id $$;

comment on function public.webhook_auctions() is
    'Returns the auctions whose webhooks the caller may see and change, with their names in public.auctions (null if there is none). A caller who sees every auction gets those that have endpoints';

create function public.check_webhook_url(url text) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    normal constant text := webhook_delivery.normal_url(url);
begin
    if normal is null then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'url cannot be null',
            hint = 'Give the https:// address that receives the webhooks.';
    end if;
    return normal;
end
$$;

comment on function public.check_webhook_url(text) is
    'Returns the normal form of a URL that an endpoint can have; raises 22023 for a URL that webhook_endpoints refuses, 22004 for null. The host name is not looked up';

-- Reads the index of each endpoint only, which has all columns that are needed.
create function public.webhook_activity(since timestamptz, bucket interval default '1 hour')
    returns table (endpoint_id uuid, begins_at timestamptz, delivered bigint, failed bigint)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    if since is null or bucket is null or bucket < '1 minute' or (now() - since) / 1000 > bucket
        -- Months have no fixed length, and date_bin() refuses them.
        or extract(year from bucket) <> 0 or extract(month from bucket) <> 0
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'since and bucket must make at most 1000 buckets of a minute or more',
            hint = 'Give a time, and an interval without months such as 1 hour.';
    end if;
    return query
        select endpoint.id, counted.begins_at, counted.delivered, counted.failed
        from public.webhook_endpoints as endpoint
        cross join lateral (
            select date_bin(webhook_activity.bucket, log.created_at, webhook_activity.since) as begins_at,
                count(*) filter (where log.status = 'success') as delivered,
                count(*) filter (where log.status = 'failed') as failed
            from webhook_delivery.attempts_ended as log
            where log.endpoint_id = endpoint.id and log.created_at >= webhook_activity.since
            group by 1
        ) as counted
        order by 1, 2;
end
$$;

comment on function public.webhook_activity(timestamptz, interval) is
    'Returns the numbers of deliveries queued since then that were delivered and that failed, for each endpoint that the caller sees and each bucket of time in which there was any; tests included. Raises 22023 for more than 1,000 buckets, or a bucket shorter than a minute';

create function webhook_delivery.grant_page(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- PostgREST refers to the page's type, which is in this schema.
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant execute on function public.webhook_admin(text) to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_page(regrole) is
    'Grants a role the administrator''s page and nothing else: PostgREST''s anonymous role, as which a browser requests the page';
