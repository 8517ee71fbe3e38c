-- Records successes and failures of endpoints since the last call. Returns the notices that were
-- sent.
-- Arrays of equal length, one element per endpoint: $1 endpoints; $2 whether the endpoint has
-- succeeded; $3 time since which its attempts have failed after that, or null; $4 number of
-- deliveries that have used up all attempts; $5 whether an attempt was answered with 410; $6 last
-- error.
-- An endpoint is disabled after $7 such deliveries in a row, or after $8 milliseconds without a
-- success.
select endpoint_id, auction_id, event_type, reason
from webhook_delivery.record_endpoint_health($1, $2, $3, $4, $5, $6, $7, $8 * interval '1 millisecond')
