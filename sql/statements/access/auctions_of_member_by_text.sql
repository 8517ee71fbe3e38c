-- Returns the same as auctions_of_member.sql, for a user_id that is not a uuid.
-- $1 user id of the caller
select member.auction_id::uuid from public.auction_members as member
where member.user_id::text = $1 and member.role in ('owner', 'admin')
