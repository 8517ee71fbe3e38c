-- Reads the events of due deliveries. It does not join them with the queue, because the server
-- would then open every partition at each read.
-- $1 ids; $2 lowest and $3 highest of them, which exclude other partitions; $4 maximum bytes of
-- data: larger data is not read
select id, occurred_at, row_id, octet_length(data::text), case when octet_length(data::text) <= $4 then data::text end
from webhook_delivery.events
where id = any ($1) and id between $2 and $3
