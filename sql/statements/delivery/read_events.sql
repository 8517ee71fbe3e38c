-- The events of deliveries that are due. Not joined with these: for each read the server would open every partition that there is.
-- $1 ids, $2 the lowest and $3 the highest of them, which keep other partitions out, $4 bytes of data beyond which it is left in the table
select id, occurred_at, row_id, octet_length(data::text), case when octet_length(data::text) <= $4 then data::text end
from webhook_delivery.events
where id = any ($1) and id between $2 and $3
