-- What an endpoint must fulfil, each with its error and HINT.

create function webhook_delivery.refuse_unknown_event_types(unknown text[]) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    known constant text[] := array(select catalogue.event_type from public.webhook_event_types as catalogue order by 1);
    meant constant text := webhook_delivery.closest_name(left(unknown[1], 100), known);
begin
    -- The message names at most 10 entries of at most 100 characters: its size does not depend on
    -- what was written.
    raise exception using
        errcode = 'invalid_parameter_value',
        message = format('unknown event type: %s',
            (select string_agg(coalesce(left(given, 100), 'NULL'), ', ') from (select given from unnest(unknown) as known (given) limit 10) as first (given))),
        hint = coalesce(format('Did you mean %s? ', meant), '') || format('Event types: %s.', array_to_string(known, ', '));
end
$$;

comment on function webhook_delivery.refuse_unknown_event_types(text[]) is
    'Raises 22023 for event types that are not in the catalogue, with the name that was probably meant';

create function webhook_delivery.check_endpoint_events(events text[]) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    unknown text[];
begin
    -- Checked before the comparison with the catalogue, which would take seconds for a million
    -- entries.
    if cardinality(events) not between 1 and 100 or array_ndims(events) > 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = format('events must have 1 to 100 entries in one dimension, not %s', cardinality(events)),
            hint = 'Give names such as submission.created, families such as submission.*, or * for all.';
    end if;
    select array_agg(wanted) into unknown
    from unnest(events) as wanted
    where wanted is null
       or (wanted <> '*'
           and not exists (
               select from public.webhook_event_types as known
               where known.event_type = wanted
                  or split_part(known.event_type, '.', 1) || '.*' = wanted));
    if unknown is not null then
        perform webhook_delivery.refuse_unknown_event_types(unknown);
    end if;
end
$$;

comment on function webhook_delivery.check_endpoint_events(text[]) is
    'Raises 22023 if an event type is not in the catalogue, or if there are none or more than 100';

create function webhook_delivery.check_number_of_endpoints(of_auction uuid) returns void
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    at_most constant integer := current_setting('webhook_delivery.max_endpoints');
begin
    -- Without this lock two concurrent transactions could both pass the check. The second waits
    -- until the first has ended, and then counts what the first has written.
    perform webhook_delivery.count_usage(of_auction, 0, 0);
    if (select count(*) from public.webhook_endpoints as endpoint
        where endpoint.auction_id = of_auction) > at_most
    then
        raise exception using
            errcode = 'check_violation',
            message = format('an auction can have at most %s webhook endpoints', at_most),
            hint = 'Delete one that is no longer needed, or have an administrator raise webhook_delivery.max_endpoints.';
    end if;
end
$$;

comment on function webhook_delivery.check_number_of_endpoints(uuid) is
    'Raises 23514 if the auction has more than webhook_delivery.max_endpoints endpoints, including the one that was just inserted';

create function webhook_delivery.check_endpoint(endpoint public.webhook_endpoints) returns void
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    problem record;
    waits constant interval[] := endpoint.retry_schedule;
begin
    -- What the table's constraints of the same names check, with a HINT. The first that does not
    -- hold is reported.
    select checked.* into problem
    from (values
        (1, 'description_is_at_most_1000_characters', length(endpoint.description) <= 1000,
            'description must have at most 1000 characters', 'Shorten it.'),
        (2, 'max_per_second_is_between_a_hundredth_and_10000', endpoint.max_per_second between 0.01::real and 10000,
            'max_per_second must be between 0.01 and 10000', 'Use null for no limit.'),
        (3, 'headers_is_an_object', jsonb_typeof(endpoint.headers) = 'object',
            'headers must be an object of texts', 'Use {"Authorization": "Bearer ..."}, or {} for none.'),
        (4, 'retry_schedule_has_at_most_100_waits_of_1_second_to_30_days',
            cardinality(waits) <= 100 and coalesce(array_ndims(waits), 1) = 1 and array_position(waits, null) is null,
            'retry_schedule must have at most 100 waits', 'Use {1 minute, 1 hour, 1 day}, {} for a single attempt, or null for the server''s schedule.'),
        -- Months compare as 30 days but last longer: with units of different signs, a wait could
        -- have any length.
        (5, null, cardinality(waits) > 100 or not exists (select from unnest(waits) as given (wait)
                where extract(year from given.wait) <> 0 or extract(month from given.wait) <> 0),
            'waits of retry_schedule must not have months', 'Use days, hours, minutes and seconds: {1 minute, 1 hour, 30 days}.'),
        (6, 'retry_schedule_has_at_most_100_waits_of_1_second_to_30_days',
            interval '1 second' <= all (waits) and interval '30 days' >= all (waits),
            'waits of retry_schedule must be from 1 second to 30 days', 'Use {1 minute, 1 hour, 1 day}.')
    ) as checked (place, name, holds, message, hint)
    where not checked.holds
    order by checked.place limit 1;
    if found then
        raise exception using
            errcode = case when problem.name is null then 'invalid_parameter_value' else 'check_violation' end,
            message = problem.message,
            hint = problem.hint,
            constraint = coalesce(problem.name, '');
    end if;
end
$$;

comment on function webhook_delivery.check_endpoint(public.webhook_endpoints) is
    'Raises 23514 with a HINT if a constraint of the table does not hold, and 22023 for a wait in months';
