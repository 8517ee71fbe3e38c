-- What does the database of a Supabase project look like before the application comes? As far as privileges go.
-- Run by a superuser, in the database of the application.

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
-- PostgREST logs in as this and becomes one of the three for each request.
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;

-- Owns the application, and is no superuser.
create role postgres login createrole createdb replication bypassrls;
grant anon, authenticated, service_role, pg_monitor, pg_read_all_data to postgres;
alter database postgres owner to postgres;

create schema auth;
create schema extensions;
grant usage on schema public, extensions, auth to anon, authenticated, service_role;
grant all on schema public, extensions to postgres;
grant usage on schema auth to postgres;

create function auth.uid() returns uuid
    language sql stable
    as $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;

-- Everything that is made in public is everybody's at first.
alter default privileges for role supabase_admin in schema public grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public grant all on sequences to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on sequences to postgres, anon, authenticated, service_role;
