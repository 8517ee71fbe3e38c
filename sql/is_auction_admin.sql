-- Does public.auction_members name the caller as owner or admin of the auction? Runs with the rights of the table's owner.
-- $1 the auction
select exists (
    select from public.auction_members as member
    where member.auction_id = $1
        and member.user_id::text = nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'
        and member.role in ('owner', 'admin'))
