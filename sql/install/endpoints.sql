-- Endpoints and their secrets.

create table public.webhook_endpoints (
    -- Stands for one that is still to be given: see endpoint_before_naming.
    id uuid not null default '00000000-0000-0000-0000-000000000000',
    auction_id uuid not null,
    url text not null,
    events text[] not null,
    secret text,
    is_active boolean not null default true,
    description text,
    headers jsonb not null default '{}',
    retry_schedule interval[],
    ordered boolean not null default false,
    max_per_second real,
    disabled_at timestamptz,
    disabled_reason text,
    created_at timestamptz not null default pg_catalog.now(),
    updated_at timestamptz not null default pg_catalog.now(),
    created_by text,
    constraint endpoint_ids_are_unique primary key (id),
    constraint url_is_at_most_2000_characters check (length(url) <= 2000),
    constraint description_is_at_most_1000_characters check (length(description) <= 1000),
    constraint created_by_is_at_most_255_characters check (length(created_by) <= 255),
    constraint events_has_1_to_100_entries check (cardinality(events) between 1 and 100 and array_ndims(events) = 1),
    constraint only_a_disabled_endpoint_says_when_and_why check (
        (disabled_at is null) = (disabled_reason is null) and (disabled_at is null or not is_active)),
    constraint max_per_second_is_between_a_hundredth_and_10000 check (max_per_second between 0.01::real and 10000),
    constraint headers_is_an_object check (jsonb_typeof(headers) = 'object'),
    constraint retry_schedule_has_at_most_100_waits_of_1_second_to_30_days check (
        cardinality(retry_schedule) <= 100 and coalesce(array_ndims(retry_schedule), 1) = 1
        and array_position(retry_schedule, null) is null
        and interval '1 second' <= all (retry_schedule) and interval '30 days' >= all (retry_schedule))
);

create index webhook_endpoints_by_auction on public.webhook_endpoints (auction_id);

comment on table public.webhook_endpoints is 'A customer''s URL, and the events of one auction that it wants';
comment on column public.webhook_endpoints.id is 'Identifies the endpoint. Given by the database; in an upsert that of one that you see';
comment on column public.webhook_endpoints.auction_id is 'The auction whose events are sent. Cannot be changed';
comment on column public.webhook_endpoints.url is 'Where to POST: https only (http where webhook_delivery.allow_http is on), no user name or password in it, at most 2,000 characters. Kept in its normal form, which is what is called';
comment on column public.webhook_endpoints.events is 'Event types wanted: exact names, a whole family (submission.*), or * for all';
comment on column public.webhook_endpoints.secret is
    'Write: the signing secret, 16 to 256 characters. Left out, one is generated, and INSERT ... RETURNING generated_secret(webhook_endpoints) gives it this once. Read: a hint, its last four characters';
comment on column public.webhook_endpoints.is_active is 'false: new events are not queued for it, unless disabled_at says that the server has disabled it; what is queued waits until it is true again';
comment on column public.webhook_endpoints.description is 'The customer''s own note';
comment on column public.webhook_endpoints.headers is
    'Headers sent in addition to ours, names and values as text: {"Authorization": "Bearer ..."}. At most 20, values of at most 1,000 characters of ASCII. They are visible with the endpoint';
comment on column public.webhook_endpoints.retry_schedule is
    'Waits after failed attempts, each 1 second to 30 days and without months; {} for one attempt only. Null: those of webhook_delivery.retry_schedule';
comment on column public.webhook_endpoints.ordered is
    'Deliveries go out one at a time, in the order of the auction''s events: after a failure the others wait until it has succeeded or used up its attempts';
comment on column public.webhook_endpoints.max_per_second is 'Requests per second at most, spread evenly: 0.01 to 10,000. Null: as many as there is room for. Tests do not count';
comment on column public.webhook_endpoints.disabled_at is
    'When the server disabled it, because it failed for too long or answered 410. Events are queued for it nevertheless, and go out when is_active is set to true. Set it to null to have none queued';
comment on column public.webhook_endpoints.disabled_reason is 'Why it did';
comment on column public.webhook_endpoints.created_at is 'When the endpoint was created. Set by the server, like the two that follow';
comment on column public.webhook_endpoints.updated_at is 'When the endpoint was last changed';
comment on column public.webhook_endpoints.created_by is
    'The user who created the endpoint: the sub of request.jwt.claims, null where there was none. The endpoint belongs to the auction and goes on receiving when that user leaves it';

create table webhook_delivery.endpoint_secrets (
    endpoint_id uuid not null,
    secret text not null,
    previous_secret text,
    previous_until timestamptz,
    -- No foreign key: pg_restore --jobs may bring the secrets before the endpoints.
    constraint one_secret_per_endpoint primary key (endpoint_id),
    constraint secret_has_16_to_256_characters check (length(secret) between 16 and 256),
    constraint a_previous_secret_is_kept_until_some_time check ((previous_secret is null) = (previous_until is null))
);

comment on table webhook_delivery.endpoint_secrets is 'The signing secrets. Only the owner and the worker read this table';
comment on column webhook_delivery.endpoint_secrets.endpoint_id is 'The endpoint whose requests are signed with it';
comment on column webhook_delivery.endpoint_secrets.secret is 'The HMAC-SHA256 key as the customer gave it, or whsec_<base64> when generated';

comment on column webhook_delivery.endpoint_secrets.previous_secret is 'The one before, which signs as well while receivers are changed to the new one; null where none is kept';
comment on column webhook_delivery.endpoint_secrets.previous_until is 'When it signs no more';

create table webhook_delivery.auction_usage (
    auction_id uuid not null,
    since timestamptz not null default '-infinity',
    tests bigint not null default 0,
    redeliveries bigint not null default 0,
    constraint one_row_per_auction primary key (auction_id)
);

comment on table webhook_delivery.auction_usage is
    'What an auction has used of what is limited by minute. Its row is also the lock under which the auction''s endpoints are counted. Kept when endpoints are deleted, so that deleting one and creating another gives no new allowance';
comment on column webhook_delivery.auction_usage.auction_id is 'The auction';
comment on column webhook_delivery.auction_usage.since is 'When the minute began in which the following are counted';
comment on column webhook_delivery.auction_usage.tests is 'Tests sent in that minute';
comment on column webhook_delivery.auction_usage.redeliveries is 'Deliveries sent again in that minute';

create function webhook_delivery.count_usage(of_auction uuid, more_tests bigint, more_redeliveries bigint, out tests bigint, out redeliveries bigint)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    -- A minute that begins more than a minute ahead is from before the clock was set back: counting begins again.
    insert into webhook_delivery.auction_usage as usage (auction_id, since, tests, redeliveries)
    values (of_auction, clock_timestamp(), more_tests, more_redeliveries)
    on conflict on constraint one_row_per_auction do update set
        (since, tests, redeliveries) = (
            select case when minute.goes_on then usage.since else excluded.since end,
                case when minute.goes_on then usage.tests else 0 end + excluded.tests,
                case when minute.goes_on then usage.redeliveries else 0 end + excluded.redeliveries
            from (select usage.since between excluded.since - interval '1 minute' and excluded.since + interval '1 minute') as minute (goes_on))
    returning usage.tests, usage.redeliveries into tests, redeliveries;
end
$$;

comment on function webhook_delivery.count_usage(uuid, bigint, bigint) is
    'Counts tests and deliveries sent again of an auction, and returns how many there were of each in the current minute. Locks the auction''s row until the transaction ends';

create table webhook_delivery.pauses (
    endpoint_id uuid,
    auction_id uuid,
    paused_at timestamptz not null default pg_catalog.clock_timestamp(),
    reason text,
    constraint an_endpoint_or_an_auction_is_paused_once unique nulls not distinct (endpoint_id, auction_id),
    constraint a_pause_is_of_an_endpoint_or_of_an_auction check (num_nonnulls(endpoint_id, auction_id) = 1)
);

-- It has no key, because one of its columns is always null. Without an identity nothing could be deleted from it once there is a
-- publication for all tables.
alter table webhook_delivery.pauses replica identity full;

comment on table webhook_delivery.pauses is 'Endpoints and auctions to which the operator has stopped sending, by pause()';
comment on column webhook_delivery.pauses.endpoint_id is 'The endpoint';
comment on column webhook_delivery.pauses.auction_id is 'Or the auction, with all its endpoints';
comment on column webhook_delivery.pauses.paused_at is 'Since when';
comment on column webhook_delivery.pauses.reason is 'Why, as the operator said';

-- What the worker asks of the endpoints.
create view webhook_delivery.endpoint_targets as
    select
        endpoint.id,
        endpoint.auction_id,
        endpoint.is_active,
        endpoint.url,
        case
            when stored.previous_until > pg_catalog.now() then array[stored.secret, stored.previous_secret]
            when stored.secret is not null then array[stored.secret]
        end as secrets,
        endpoint.headers,
        endpoint.retry_schedule,
        endpoint.ordered,
        endpoint.max_per_second,
        endpoint.id = any (array(select pause.endpoint_id from webhook_delivery.pauses as pause where pause.endpoint_id is not null))
        or endpoint.auction_id = any (array(
            select pause.auction_id from webhook_delivery.pauses as pause where pause.auction_id is not null)) as is_paused
    from public.webhook_endpoints as endpoint
    left join webhook_delivery.endpoint_secrets as stored on stored.endpoint_id = endpoint.id;

comment on view webhook_delivery.endpoint_targets is 'Every endpoint, with what signs its requests';
comment on column webhook_delivery.endpoint_targets.id is 'The endpoint';
comment on column webhook_delivery.endpoint_targets.auction_id is 'Its auction';
comment on column webhook_delivery.endpoint_targets.url is 'Where requests go';
comment on column webhook_delivery.endpoint_targets.is_active is 'Whether it receives anything but tests';
comment on column webhook_delivery.endpoint_targets.secrets is 'What signs the requests: the present secret, and after it the previous one while it is kept. Null where there is none';
comment on column webhook_delivery.endpoint_targets.headers is 'Headers of the customer''s own';
comment on column webhook_delivery.endpoint_targets.retry_schedule is 'Waits of its own after failed attempts, or null';
comment on column webhook_delivery.endpoint_targets.ordered is 'Whether deliveries go out one at a time';
comment on column webhook_delivery.endpoint_targets.max_per_second is 'Requests per second at most, or null';
comment on column webhook_delivery.endpoint_targets.is_paused is 'Whether the operator has stopped sending to it or to its auction, tests included';

create view webhook_delivery.subscriptions as
    select endpoint.auction_id, endpoint.id as endpoint_id, endpoint.events
    from public.webhook_endpoints as endpoint
    where endpoint.is_active or endpoint.disabled_at is not null;

comment on view webhook_delivery.subscriptions is 'Which events new deliveries are queued for';
comment on column webhook_delivery.subscriptions.auction_id is 'Events of this auction';
comment on column webhook_delivery.subscriptions.endpoint_id is 'are queued for this endpoint';
comment on column webhook_delivery.subscriptions.events is 'where their type is among these: exact names, families (submission.*), *';

create function public.generated_secret(endpoint public.webhook_endpoints) returns text
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$ select webhook_delivery.show_generated_secret(endpoint.id) $$;

comment on function public.generated_secret(public.webhook_endpoints) is
    'INSERT ... RETURNING generated_secret(webhook_endpoints): the secret that this statement has generated for the endpoint, null at any other time. It is in no row, so no other statement reads it';

select pg_catalog.pg_extension_config_dump('public.webhook_endpoints', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.endpoint_secrets', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.pauses', '');
