-- Returns those of the given deliveries that the caller sees, each with its endpoint, its auction
-- and whether it waits for an attempt, in the order of their ids.
-- $1 delivery ids, $2 lowest and $3 highest of them
select delivery.id, delivery.endpoint_id, delivery.auction_id, delivery.completed_at is null
from unnest($1::uuid[]) as given (id)
join public.webhook_deliveries as delivery on delivery.id = given.id
where delivery.id between $2 and $3
order by delivery.id
