-- Deleting the data of a customer from events and history.

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
            hint = 'select webhook_delivery.administered_auctions() shows the auctions that you administer.';
    elsif length(containing) > 1000 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'the text to look for has more than 1000 characters',
            hint = 'Give a part of it that is found nowhere else: an id, an e-mail address.';
    elsif everything is not true and row_id is null and coalesce(containing, '') = '' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'it is not said whose data is to be deleted',
            hint = 'Give row_id (of a submission, an inspection, a member ...), or containing (an id, an e-mail address), or everything => true.';
    elsif everything and num_nonnulls(row_id, containing) > 0 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'everything is all of the auction, and not that of one row or with some text',
            hint = 'Leave everything out, or row_id and containing.';
    end if;
    expunged := webhook_delivery.expunge(auction_id, row_id, nullif(containing, ''));
    if expunged is null then
        raise exception using
            errcode = 'PT404',
            message = format('there is no auction %s of yours', auction_id),
            hint = 'select webhook_delivery.administered_auctions() shows those that you administer.';
    end if;
    return expunged;
end
$$;

comment on function public.expunge_webhook_data(uuid, uuid, text, boolean) is
    'Deletes the data of an auction''s events, of those about one row, of those with a text in their data (as JSON has it), or everything: from the events and from what receivers have answered. That there were deliveries, when, and how they ended, stays; what waits ends as failed. Returns how many events these were. An operator''s call deletes what could not be captured and is about the row, or has the text, as well. Nobody says whose data, or a text of more than 1,000 characters: 22023; auction_id is null: 22004; not an auction of the caller''s: PT404';
