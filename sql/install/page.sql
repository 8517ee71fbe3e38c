-- What only the administrator's page asks for.

create function public.webhook_auctions() returns table (auction_id uuid, name text)
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$ select known.auction_id, known.name from webhook_delivery.named_auctions() as known order by known.name, known.auction_id $$;

comment on function public.webhook_auctions() is
    'The auctions whose webhooks the caller may see and change, with their names in public.auctions; null where there is none. A caller who sees every auction gets those that have endpoints';

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
            message = 'there is no URL',
            hint = 'Give the https:// address that receives the webhooks.';
    end if;
    return normal;
end
$$;

comment on function public.check_webhook_url(text) is
    'Whether an endpoint could have this URL: returns its normal form, and refuses (22023) what webhook_endpoints would refuse, null with 22004. Its name is not looked up';

-- From the index of each endpoint, which has all that is asked for.
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
            message = 'since and bucket make no series of at most 1000 buckets of a minute or more',
            hint = 'Give a time, and an interval without months such as 1 hour.';
    end if;
    return query
        select endpoint.id, counted.begins_at, counted.delivered, counted.failed
        from public.webhook_endpoints as endpoint
        cross join lateral (
            select date_bin(webhook_activity.bucket, log.created_at, webhook_activity.since) as begins_at,
                count(*) filter (where log.delivery_status = 'success') as delivered,
                count(*) filter (where log.delivery_status = 'failed') as failed
            from webhook_delivery.attempts_ended as log
            where log.endpoint_id = endpoint.id and log.created_at >= webhook_activity.since
            group by 1
        ) as counted
        order by 1, 2;
end
$$;

comment on function public.webhook_activity(timestamptz, interval) is
    'How many deliveries queued since then have been delivered, and have failed, of each endpoint that the caller sees and each bucket of time in which there was any; tests included. More than 1,000 buckets, or shorter than a minute: 22023';

create function webhook_delivery.grant_page(grantee regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- PostgREST names the page's type, which is there.
    execute format('grant usage on schema webhook_delivery to %s', grantee);
    execute format('grant execute on function public.webhook_admin(text) to %s', grantee);
end
$$;

comment on function webhook_delivery.grant_page(regrole) is
    'Lets a role load the administrator''s page, and nothing else: PostgREST''s anonymous role, as which a browser asks for it';
