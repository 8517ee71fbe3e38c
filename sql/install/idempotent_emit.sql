-- emit() with an idempotency key: a caller that tries again sends the event once.

create table webhook_delivery.idempotency_keys (
    auction_id uuid not null,
    idempotency_key text not null,
    event_type text not null,
    data_hash bytea not null,
    event_id uuid,
    created_at timestamptz not null default pg_catalog.clock_timestamp(),
    constraint an_auction_has_an_idempotency_key_once primary key (auction_id, idempotency_key)
);

create index idempotency_keys_by_time on webhook_delivery.idempotency_keys (created_at);

comment on table webhook_delivery.idempotency_keys is 'Keys of emit() of the last day: each stands for one event of its auction';
comment on column webhook_delivery.idempotency_keys.auction_id is 'Auction of the event';
comment on column webhook_delivery.idempotency_keys.idempotency_key is 'Key that the caller has chosen';
comment on column webhook_delivery.idempotency_keys.event_type is 'Type of the event';
comment on column webhook_delivery.idempotency_keys.data_hash is 'SHA-256 of the text of its data';
comment on column webhook_delivery.idempotency_keys.event_id is 'Id that emit() has returned; null if no endpoint wanted the event, or if that was known at the commit only';
comment on column webhook_delivery.idempotency_keys.created_at is 'Time of the call that sent the event';

-- Without a policy: only the owner and roles that bypass row-level security see its rows, even after
-- a mistaken grant.
alter table webhook_delivery.idempotency_keys enable row level security;

select pg_catalog.pg_extension_config_dump('webhook_delivery.idempotency_keys', '');

create function webhook_delivery.emit(event text, auction_id uuid, data json, idempotency_key text) returns uuid
    language plpgsql volatile security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    known webhook_delivery.idempotency_keys;
    digest constant bytea := sha256(convert_to(data::text, 'UTF8'));
    new_id uuid;
begin
    if idempotency_key is null or event is null or auction_id is null or data is null then
        return webhook_delivery.emit(event, auction_id, data);
    elsif length(idempotency_key) not between 1 and 255 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('idempotency_key must have 1 to 255 characters, not %s', length(idempotency_key)),
            hint = 'Use an identifier that stays the same when the call is repeated, such as the id of the row or job that makes the event.';
    end if;
    -- Without a lock, so that a repeated call does not wait.
    select * into known from webhook_delivery.idempotency_keys as kept
    where kept.auction_id = emit.auction_id and kept.idempotency_key = emit.idempotency_key
        and kept.created_at >= clock_timestamp() - interval '1 day';
    if not found then
        -- If another session has sent the key and not committed yet, this waits until it has.
        insert into webhook_delivery.idempotency_keys as kept (auction_id, idempotency_key, event_type, data_hash)
        values (emit.auction_id, emit.idempotency_key, emit.event, digest)
        on conflict on constraint an_auction_has_an_idempotency_key_once
            do update set event_type = excluded.event_type, data_hash = excluded.data_hash, created_at = excluded.created_at
            where kept.created_at < excluded.created_at - interval '1 day';
        if found then
            new_id := webhook_delivery.emit(event, auction_id, data);
            update webhook_delivery.idempotency_keys as kept set event_id = new_id
            where kept.auction_id = emit.auction_id and kept.idempotency_key = emit.idempotency_key;
            return new_id;
        end if;
        select * into known from webhook_delivery.idempotency_keys as kept
        where kept.auction_id = emit.auction_id and kept.idempotency_key = emit.idempotency_key;
    end if;
    if (known.event_type, known.data_hash) is distinct from (event, digest) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('idempotency key %L was used for another event', idempotency_key),
            detail = format('It stands for a %s event of %s, whose type or data differ.', known.event_type, known.created_at),
            hint = 'Use a key of its own for each event, and the same data when a call is repeated.';
    end if;
    return known.event_id;
end
$$;

comment on function webhook_delivery.emit(text, uuid, json, text) is
    'Sends an event as emit(event, auction_id, data) does, but once: a call with the same key and the same auction within a day sends nothing and returns the id of the event that the first one sent. The key counts if the transaction commits; a concurrent call waits for that. Without a key (null) each call sends an event. Raises 22023 for a key that stands for an event with another type or other data, or of more than 255 characters. Grant EXECUTE to the roles that may speak for every auction';
