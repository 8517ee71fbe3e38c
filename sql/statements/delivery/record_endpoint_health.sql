-- Records how endpoints have done since the last call. Returns the notices that were sent.
-- $1 endpoints, $2 whether each has succeeded, $3 since when attempts fail after that, or null, $4 deliveries that have used up
-- all attempts, $5 whether one was answered with 410, $6 last errors: arrays of equal length; $7 number of such deliveries in a row
-- that disable an endpoint, $8 or milliseconds without a success
select endpoint_id, auction_id, event_type, reason
from webhook_delivery.record_endpoint_health($1, $2, $3, $4, $5, $6, $7, $8 * interval '1 millisecond')
