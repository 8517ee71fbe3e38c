-- Deletion of a customer's data from events and history: expunge_webhook_data().

-- Runs with the caller's rights, which decide whether the caller administers the auction.
create function public.expunge_webhook_data(
    auction_id uuid, row_id uuid default null, containing text default null, everything boolean default false
) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    expunged bigint;
begin
    if auction_id is null then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'auction_id cannot be null',
            hint = 'webhook_auctions() returns the auctions that you administer.';
    elsif length(containing) > 1000 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'containing must have at most 1000 characters',
            hint = 'Give a part of the text that occurs nowhere else, such as an id or an e-mail address.';
    elsif everything is not true and row_id is null and coalesce(containing, '') = '' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'row_id, containing or everything must be given',
            hint = 'Give row_id (of a submission, an inspection, a member ...), containing (an id, an e-mail address), or everything => true.';
    elsif everything and num_nonnulls(row_id, containing) > 0 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'everything cannot be combined with row_id or containing',
            hint = 'Omit everything, or omit row_id and containing.';
    end if;
    expunged := webhook_delivery.expunge(auction_id, row_id, nullif(containing, ''));
    if expunged is null then
        raise exception using
            errcode = 'PT404',
            message = format('auction %s is not administered by the caller', auction_id),
            hint = 'webhook_auctions() returns the auctions that you administer.';
    end if;
    return expunged;
end
$$;

comment on function public.expunge_webhook_data(uuid, uuid, text, boolean) is
    'Deletes the data of an auction''s events: of those about one row, of those with a text in their data (as it is spelled in JSON), or of all of them. The data is deleted from the events and from the responses of receivers. URL and description of deleted endpoints are deleted too, if they have the text, or with everything. The deliveries with their times and outcomes stay; deliveries that wait end as failed. Returns the number of events. If the caller is an operator, also deletes dead letters that are about the row or have the text. Raises 22023 if none of row_id, containing and everything is given, if everything is combined with another, or if the text has more than 1,000 characters; 22004 if auction_id is null; PT404 if the caller does not administer the auction';
