-- Trying a filter.

-- Runs with the caller's rights.
create function public.preview_webhook_filter(auction_id uuid, filter text, events text[] default '{*}')
    returns table (event_type text, occurred_at timestamptz, data json, matches boolean)
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if num_nulls(auction_id, filter, events) > 0 then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'auction_id, filter and events cannot be null',
            hint = 'Omit events for all event types.';
    end if;
    perform webhook_delivery.check_endpoint_events(events);
    return query
        select tried.event_type, tried.occurred_at, tried.data::json, tried.matches
        from webhook_delivery.preview_filter(auction_id, filter, events) as tried;
end
$$;

comment on function public.preview_webhook_filter(uuid, text, text[]) is
    'Tries a filter on the latest 10 events of an auction, of these types, that were sent, newest first, and then on the examples of the catalogue, which have no occurred_at. matches is null if the filter is neither true nor false, or fails: such events are sent. Raises 22023 for an invalid filter, 42501 for an auction that the caller does not administer, 22004 for a null';
