-- Returns the id of the user who sent the request, according to PostgREST.
select nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'
