-- What stands before everything else that the extension creates?

-- Not IF NOT EXISTS: whoever had made the schema before would own it.
create schema webhook_delivery;

-- What PostgREST sends as it is, and not as JSON.
create domain webhook_delivery."text/html" as text;
comment on domain webhook_delivery."text/html" is 'A page: PostgREST answers with this media type where a function returns it';

-- The tables and functions for tenants are created in public, which PostgREST serves, in whichever schema the extension itself is.
-- Names mean what they say, whatever stands in the schema that the extension is created in. Ends with CREATE EXTENSION.
set local search_path = pg_catalog, pg_temp;
