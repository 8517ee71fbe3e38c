-- Which of these deliveries the caller sees, of which endpoints and auctions, and which of them wait for an attempt. In their order.
-- $1 delivery ids, $2 the lowest and $3 the highest of them
select delivery.id, delivery.endpoint_id, delivery.auction_id, delivery.completed_at is null
from unnest($1::uuid[]) as given (id)
join public.webhook_deliveries as delivery on delivery.id = given.id
where delivery.id between $2 and $3
order by delivery.id
