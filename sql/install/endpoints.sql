-- Endpoints, their secrets and pauses, and the usage of limits per minute.

create table public.webhook_endpoints (
    id uuid not null default webhook_delivery.new_endpoint_id(),
    auction_id uuid not null,
    url text not null,
    events text[] not null,
    filter text,
    secret text,
    signature public.webhook_signature not null default 'hmac',
    public_key text,
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
    constraint filter_is_at_most_1000_characters check (length(filter) <= 1000),
    constraint only_ed25519_has_a_public_key check ((signature = 'ed25519') = (public_key is not null)),
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

comment on table public.webhook_endpoints is 'Endpoints: a URL of a customer, and the events of one auction that it subscribes to';
comment on column public.webhook_endpoints.id is 'Identifier of the endpoint, assigned by the database. An upsert gives that of an endpoint that the caller sees';
comment on column public.webhook_endpoints.auction_id is 'Auction whose events are sent. Cannot be changed';
comment on column public.webhook_endpoints.url is 'URL to which requests are POSTed: https only (http if webhook_delivery.allow_http is on), without user name and password, at most 2,000 characters. Stored in its normal form, which is the URL that is called';
comment on column public.webhook_endpoints.events is 'Event types that the endpoint subscribes to: exact names, a whole family (submission.*), or * for all';
comment on column public.webhook_endpoints.filter is
    'Condition on the data of an event, as a jsonpath that compares paths with literals: $.total_car_count > 50 && $.location_name == "North Lot". At most 1,000 characters; stored in its normal form. Events for which it is false are not queued. $event is the event type. Null: no condition. Operational events and tests are not filtered';
comment on column public.webhook_endpoints.secret is
    'Signing secret when written, 16 to 256 characters; if omitted, a secret is generated, which INSERT ... RETURNING generated_secret(webhook_endpoints) returns this once. Hint of the secret when read: its last four characters';
comment on column public.webhook_endpoints.signature is
    'How webhook-signature is made: hmac, with the secret (v1), or ed25519, with a private key that only the server knows (v1a). X-Webhook-Signature is made with the secret in both cases';
comment on column public.webhook_endpoints.public_key is
    'Public key with which receivers verify webhook-signature if signature is ed25519: whpk_ and 32 bytes in base64. Set by the server; null for hmac';
comment on column public.webhook_endpoints.is_active is 'Whether the endpoint receives events. If false, new events are not queued for it, unless disabled_at shows that the server has disabled it; queued deliveries wait until it is true again';
comment on column public.webhook_endpoints.description is 'Note of the customer';
comment on column public.webhook_endpoints.headers is
    'Headers that are sent in addition to those of the extension, names and values as text: {"Authorization": "Bearer ..."}. At most 20, with values of at most 1,000 ASCII characters. They are visible to all who see the endpoint';
comment on column public.webhook_endpoints.retry_schedule is
    'Waits after failed attempts, each from 1 second to 30 days and without months; {} for a single attempt. Null: those of webhook_delivery.retry_schedule';
comment on column public.webhook_endpoints.ordered is
    'Whether deliveries are sent one at a time, in the order of the auction''s events: after a failure the others wait until the failed delivery has succeeded or used up its attempts';
comment on column public.webhook_endpoints.max_per_second is 'Maximum number of requests per second, spread evenly: 0.01 to 10,000. Null: no limit of its own. Tests do not count';
comment on column public.webhook_endpoints.disabled_at is
    'Time at which the server disabled the endpoint, because it failed for too long or answered 410. Events are still queued for it, and are sent when is_active is set to true. To stop queueing, set it and disabled_reason to null';
comment on column public.webhook_endpoints.disabled_reason is 'Reason why the server disabled the endpoint';
comment on column public.webhook_endpoints.created_at is 'Time at which the endpoint was created. Set by the server, like updated_at and created_by';
comment on column public.webhook_endpoints.updated_at is 'Time at which the endpoint was last changed';
comment on column public.webhook_endpoints.created_by is
    'User who created the endpoint: the sub of request.jwt.claims, null if there was none. The endpoint belongs to the auction and keeps receiving events when that user leaves it';

create table public.webhook_deleted_endpoints (
    id uuid not null,
    auction_id uuid not null,
    url text not null,
    description text,
    deleted_at timestamptz not null default pg_catalog.now(),
    constraint deleted_endpoint_ids_are_unique primary key (id)
);

create index webhook_deleted_endpoints_by_auction on public.webhook_deleted_endpoints (auction_id, deleted_at);

comment on table public.webhook_deleted_endpoints is
    'Deleted endpoints, so that the history of their deliveries can name them: the latest 100 of an auction, for webhook_delivery.retention';
comment on column public.webhook_deleted_endpoints.id is 'Identifier that the endpoint had, which its deliveries keep';
comment on column public.webhook_deleted_endpoints.auction_id is 'Auction of the endpoint';
comment on column public.webhook_deleted_endpoints.url is 'URL of the endpoint when it was deleted';
comment on column public.webhook_deleted_endpoints.description is 'Note of the customer';
comment on column public.webhook_deleted_endpoints.deleted_at is 'Time at which the endpoint was deleted';

create table webhook_delivery.endpoint_secrets (
    endpoint_id uuid not null,
    algorithm public.webhook_signature not null,
    is_previous boolean not null default false,
    secret text not null,
    key_id text,
    signs_until timestamptz,
    -- No foreign key: pg_restore --jobs may restore the secrets before the endpoints.
    constraint one_secret_of_each_algorithm_and_the_one_before primary key (endpoint_id, algorithm, is_previous),
    constraint secret_has_16_to_256_characters check (length(secret) between 16 and 256 or key_id is not null and length(secret) <= 2000),
    constraint only_a_previous_secret_ends check (is_previous = (signs_until is not null))
);

comment on table webhook_delivery.endpoint_secrets is
    'Secrets that sign the requests of endpoints. Only the owner reads this table, and the worker through endpoint_targets';
comment on column webhook_delivery.endpoint_secrets.endpoint_id is 'Endpoint whose requests the secret signs';
comment on column webhook_delivery.endpoint_secrets.algorithm is 'Signature that the secret makes: every endpoint has a secret for hmac';
comment on column webhook_delivery.endpoint_secrets.is_previous is 'Whether the secret was replaced, and also signs while receivers change to the new one';
comment on column webhook_delivery.endpoint_secrets.secret is
    'The secret if key_id is null: for hmac as the customer gave it, or whsec_<base64> if generated; for ed25519 whsk_<base64 of the private key>. Otherwise base64 of the encrypted secret: nonce, ciphertext and tag of XChaCha20-Poly1305';
comment on column webhook_delivery.endpoint_secrets.key_id is 'Key of webhook_delivery.secret_key_file that has encrypted the secret; null if it is not encrypted';
comment on column webhook_delivery.endpoint_secrets.signs_until is 'Time at which a previous secret stops signing; null for the present one';

create table webhook_delivery.auction_usage (
    auction_id uuid not null,
    since timestamptz not null default '-infinity',
    tests bigint not null default 0,
    redeliveries bigint not null default 0,
    constraint one_row_per_auction primary key (auction_id)
);

comment on table webhook_delivery.auction_usage is
    'Usage of an auction''s limits per minute. The row is also the lock under which the auction''s endpoints are counted. It is kept when endpoints are deleted, so that deleting an endpoint and creating another gives no new allowance';
comment on column webhook_delivery.auction_usage.auction_id is 'Auction';
comment on column webhook_delivery.auction_usage.since is 'Time at which the minute began in which tests and redeliveries are counted';
comment on column webhook_delivery.auction_usage.tests is 'Number of tests sent in that minute';
comment on column webhook_delivery.auction_usage.redeliveries is 'Number of deliveries that were redelivered or replayed in that minute';

create function webhook_delivery.count_usage(of_auction uuid, more_tests bigint, more_redeliveries bigint, out tests bigint, out redeliveries bigint)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    -- A minute that begins more than a minute in the future dates from before the clock was set
    -- back: counting begins again.
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
    'Counts tests and redeliveries of an auction, and returns the number of each in the current minute. Locks the auction''s row until the transaction ends';

create table webhook_delivery.pauses (
    endpoint_id uuid,
    auction_id uuid,
    paused_at timestamptz not null default pg_catalog.clock_timestamp(),
    reason text,
    constraint an_endpoint_or_an_auction_is_paused_once unique nulls not distinct (endpoint_id, auction_id),
    constraint a_pause_is_of_an_endpoint_or_of_an_auction check (num_nonnulls(endpoint_id, auction_id) = 1)
);

-- The table has no key, because one of its columns is always null. Without a replica identity no
-- row could be deleted from it once there is a publication for all tables.
alter table webhook_delivery.pauses replica identity full;

comment on table webhook_delivery.pauses is 'Endpoints and auctions to which the operator has stopped sending, by pause()';
comment on column webhook_delivery.pauses.endpoint_id is 'Paused endpoint; null if an auction is paused';
comment on column webhook_delivery.pauses.auction_id is 'Paused auction, with all its endpoints; null if an endpoint is paused';
comment on column webhook_delivery.pauses.paused_at is 'Time at which the pause began';
comment on column webhook_delivery.pauses.reason is 'Reason that the operator gave';

-- The worker reads endpoints through this view.
create view webhook_delivery.endpoint_targets as
    select
        endpoint.id,
        endpoint.auction_id,
        endpoint.is_active,
        endpoint.url,
        stored.algorithms,
        stored.key_ids,
        stored.secrets,
        endpoint.headers,
        endpoint.retry_schedule,
        endpoint.ordered,
        endpoint.max_per_second,
        endpoint.id = any (array(select pause.endpoint_id from webhook_delivery.pauses as pause where pause.endpoint_id is not null))
        or endpoint.auction_id = any (array(
            select pause.auction_id from webhook_delivery.pauses as pause where pause.auction_id is not null)) as is_paused
    from public.webhook_endpoints as endpoint
    left join lateral (
        select
            pg_catalog.array_agg(signing.algorithm::text) as algorithms,
            pg_catalog.array_agg(signing.key_id) as key_ids,
            pg_catalog.array_agg(signing.secret) as secrets
        from (
            select one.algorithm, one.key_id, one.secret
            from webhook_delivery.endpoint_secrets as one
            where one.endpoint_id = endpoint.id and (one.signs_until is null or one.signs_until > pg_catalog.now())
            order by one.algorithm, one.is_previous
        ) as signing
        having pg_catalog.bool_or(signing.algorithm = 'hmac') and (endpoint.signature = 'hmac' or pg_catalog.bool_or(signing.algorithm = 'ed25519'))
    ) as stored on true;

comment on view webhook_delivery.endpoint_targets is 'Every endpoint, with the secrets that sign its requests';
comment on column webhook_delivery.endpoint_targets.id is 'Identifier of the endpoint';
comment on column webhook_delivery.endpoint_targets.auction_id is 'Auction of the endpoint';
comment on column webhook_delivery.endpoint_targets.url is 'URL to which requests are sent';
comment on column webhook_delivery.endpoint_targets.is_active is 'Whether the endpoint receives anything but tests';
comment on column webhook_delivery.endpoint_targets.algorithms is 'Algorithms of the secrets that sign the requests: of each the present one, followed by the previous one while that signs. Null if one that is needed is missing';
comment on column webhook_delivery.endpoint_targets.key_ids is 'Keys that have encrypted these secrets, null for one that is not encrypted';
comment on column webhook_delivery.endpoint_targets.secrets is 'These secrets, as endpoint_secrets has them';
comment on column webhook_delivery.endpoint_targets.headers is 'Headers that the customer has set';
comment on column webhook_delivery.endpoint_targets.retry_schedule is 'Waits of the endpoint''s own after failed attempts, or null';
comment on column webhook_delivery.endpoint_targets.ordered is 'Whether deliveries are sent one at a time';
comment on column webhook_delivery.endpoint_targets.max_per_second is 'Maximum number of requests per second, or null';
comment on column webhook_delivery.endpoint_targets.is_paused is 'Whether the operator has stopped sending to the endpoint or to its auction, tests included';

create view webhook_delivery.subscriptions as
    select endpoint.auction_id, endpoint.id as endpoint_id, endpoint.events, endpoint.filter
    from public.webhook_endpoints as endpoint
    where endpoint.is_active or endpoint.disabled_at is not null;

comment on view webhook_delivery.subscriptions is 'Endpoints for which new deliveries are queued, with the events that they subscribe to';
comment on column webhook_delivery.subscriptions.auction_id is 'Auction whose events are queued';
comment on column webhook_delivery.subscriptions.endpoint_id is 'Endpoint for which they are queued';
comment on column webhook_delivery.subscriptions.events is 'Event types that are queued: exact names, families (submission.*), *';
comment on column webhook_delivery.subscriptions.filter is 'Condition on the data of the events that are queued, or null';

create function public.generated_secret(endpoint public.webhook_endpoints) returns text
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$ select webhook_delivery.show_generated_secret(endpoint.id) $$;

comment on function public.generated_secret(public.webhook_endpoints) is
    'Returns the secret that the running statement has generated for the endpoint, null at any other time: INSERT ... RETURNING generated_secret(webhook_endpoints). The row of the endpoint does not have the secret, so no other statement reads it';

select pg_catalog.pg_extension_config_dump('public.webhook_endpoints', '');
select pg_catalog.pg_extension_config_dump('public.webhook_deleted_endpoints', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.endpoint_secrets', '');
select pg_catalog.pg_extension_config_dump('webhook_delivery.pauses', '');
