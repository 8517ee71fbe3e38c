-- What auctions_of_member.sql gives, where user_id is not a uuid.
-- $1 the caller
select member.auction_id::uuid from public.auction_members as member
where member.user_id::text = $1 and member.role in ('owner', 'admin')
