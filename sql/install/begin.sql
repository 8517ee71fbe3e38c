-- The private schema, and the settings under which the install script runs.

-- Not IF NOT EXISTS: a role that created the schema beforehand would own it.
create schema webhook_delivery;

-- PostgREST sends a value of this type unchanged, not as JSON.
create domain webhook_delivery."text/html" as text;
comment on domain webhook_delivery."text/html" is 'Page in HTML: PostgREST answers with this media type if a function returns it';

-- In public, so that generated types have the words.
create type public.webhook_delivery_status as enum ('pending', 'retrying', 'success', 'failed');
comment on type public.webhook_delivery_status is
    'State of a delivery: no attempt yet, an attempt has failed and another follows, delivered, or given up';

create type public.webhook_error_kind as enum (
    'dns', 'address_not_allowed', 'connect', 'proxy', 'tls', 'timeout', 'disconnect', 'http_status', 'invalid_response', 'invalid_url', 'internal',
    'payload_too_large', 'no_secret', 'endpoint_deleted', 'event_deleted', 'expired', 'cancelled');
comment on type public.webhook_error_kind is
    'Why an attempt failed, or (from payload_too_large on) why a delivery ended without another attempt';

create type public.webhook_signature as enum ('hmac', 'ed25519');
comment on type public.webhook_signature is
    'How webhook-signature is made: with the secret that both sides know (HMAC-SHA256), or with a private key that only the sender knows (Ed25519)';

create type public.webhook_queued_delivery as (delivery_id uuid, status public.webhook_delivery_status, follow text, note text);
comment on type public.webhook_queued_delivery is
    'A delivery that a call has queued: its id, its status, the query or REST path that shows its outcome, and why it waits, null if it does not';

create type public.webhook_delivery_request as (
    event_type text, status public.webhook_delivery_status, url text, headers jsonb, body text, verify text, attempts json);
comment on type public.webhook_delivery_request is
    'What a delivery sends, how a receiver verifies it, and the requests that were made';

revoke all on type public.webhook_delivery_status, public.webhook_error_kind, public.webhook_signature, public.webhook_queued_delivery,
    public.webhook_delivery_request from public;

-- Tables and functions for tenants are created in public, which PostgREST serves, whatever schema
-- the extension is created in. With this search path a name means the same whatever objects that
-- schema has. The setting ends with CREATE EXTENSION.
set local search_path = pg_catalog, pg_temp;
-- With the following settings, objects created and functions called here mean the same under any
-- settings of the server. They end with the script. The text of the script is parsed before they
-- take effect, so no literal in it has a backslash.
set local standard_conforming_strings = on;
set local transform_null_equals = off;
set local array_nulls = on;
-- Views, defaults and constraints keep an interval as it is parsed here.
set local intervalstyle = postgres;
-- Functions compare the names of types.
set local quote_all_identifiers = off;
-- Statements lock and delete rows by ctid, which not every table access method supports.
set local default_table_access_method = heap;
