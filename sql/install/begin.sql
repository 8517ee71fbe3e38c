-- What every other object of the extension relies on.

-- Not IF NOT EXISTS: a role that had made the schema before would own it.
create schema webhook_delivery;

-- What PostgREST sends as it is, and not as JSON.
create domain webhook_delivery."text/html" as text;
comment on domain webhook_delivery."text/html" is 'A page: PostgREST answers with this media type where a function returns it';

-- The tables and functions for tenants are created in public, which PostgREST serves, in whichever schema the extension itself is.
-- Names mean what they say, whatever stands in the schema that the extension is created in. Ends with CREATE EXTENSION.
set local search_path = pg_catalog, pg_temp;
-- What is created and called here means the same whatever the server's settings are; these end with the script. Its own text is parsed
-- before they hold, and so has no backslash in a literal.
set local standard_conforming_strings = on;
set local transform_null_equals = off;
set local array_nulls = on;
-- Views, defaults and constraints keep an interval as it is read here.
set local intervalstyle = postgres;
-- Functions compare the names of types.
set local quote_all_identifiers = off;
-- Rows are locked and deleted by their place, which not every kind of table has.
set local default_table_access_method = heap;
