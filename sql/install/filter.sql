-- Filters of endpoints by content: what a filter must be, and trying one.

create function webhook_delivery.check_filter(filter jsonpath) returns void
    language plpgsql stable strict
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- A predicate returns true, false or null for any data; nothing else does for an empty object.
    is_predicate boolean := false;
    problem text := 'filter must be a condition on the data, which is true or false';
begin
    if length(filter::text) > 1000 then
        problem := format('filter must have at most 1000 characters, not %s', length(filter::text));
    else
        begin
            is_predicate := jsonb_typeof(jsonb_path_query_first('{}', filter, '{"event": "submission.created"}', true)) in ('boolean', 'null');
        exception when undefined_object then
            get stacked diagnostics problem = message_text;
        end;
    end if;
    if not coalesce(is_predicate, false) then
        perform webhook_delivery.refuse_filter(problem);
    end if;
end
$$;

comment on function webhook_delivery.check_filter(jsonpath) is
    'Raises 22023 for a jsonpath that is not a predicate, has more than 1,000 characters, or has variables other than $event';

create function webhook_delivery.refuse_filter(problem text) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    raise exception using
        errcode = 'invalid_parameter_value',
        message = problem,
        hint = 'Compare a value: $.total_car_count > 50 && $.location_name == "North Lot". For the elements of an array: exists($.entries[*] ? (@.car_count > 20)). The only variable is $event, the event type.';
end
$$;

comment on function webhook_delivery.refuse_filter(text) is 'Raises 22023 with this message, and examples of filters';

-- Runs with the caller's rights.
create function public.preview_webhook_filter(auction_id uuid, filter text, events text[] default '{*}')
    returns table (event_type text, occurred_at timestamptz, data json, matches boolean)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    path jsonpath;
    problem text;
begin
    if num_nulls(auction_id, filter, events) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'auction_id, filter and events cannot be null',
            hint = 'Omit events for all event types.';
    end if;
    perform webhook_delivery.check_endpoint_events(events);
    if length(filter) > 10000 then
        perform webhook_delivery.refuse_filter(format('filter must have at most 1000 characters, not %s', length(filter)));
    end if;
    begin
        path := filter::jsonpath;
    exception when others then
        get stacked diagnostics problem = message_text;
        perform webhook_delivery.refuse_filter(format('invalid filter: %s', problem));
    end;
    perform webhook_delivery.check_filter(path);
    return query
        select tried.event_type, tried.occurred_at, tried.data::json, tried.matches
        from webhook_delivery.preview_filter(auction_id, path::text, events) as tried;
end
$$;

comment on function public.preview_webhook_filter(uuid, text, text[]) is
    'Tries a filter on the latest 10 events of an auction, of these types, that were sent, newest first, and then on the examples of the catalogue, which have no occurred_at. matches is null if the filter is neither true nor false, or fails: such events are sent. Raises 22023 for an invalid filter, 42501 for an auction that the caller does not administer, 22004 for a null';
