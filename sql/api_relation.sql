-- A table of the schema that the extension was installed in.
-- $1 its name
select pg_class.oid
from pg_extension join pg_class on pg_class.relnamespace = pg_extension.extnamespace
where pg_extension.extname = 'webhook_delivery' and pg_class.relname = $1
