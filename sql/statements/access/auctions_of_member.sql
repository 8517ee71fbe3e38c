-- Returns the auctions of which public.auction_members names the caller as owner or admin. Runs
-- with the rights of the table's owner.
-- $1 user id of the caller
select member.auction_id::uuid from public.auction_members as member
where member.user_id = $1 and member.role in ('owner', 'admin')
