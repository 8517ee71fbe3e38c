-- What stands before everything else that the extension creates?

-- Not IF NOT EXISTS: whoever had made the schema before would own it.
create schema webhook_delivery;

-- The tables and functions for tenants are created in public, which PostgREST serves, in whichever schema the extension itself is.
-- Names mean what they say, whatever stands in the schema that the extension is created in. Ends with CREATE EXTENSION.
set local search_path = pg_catalog, pg_temp;
