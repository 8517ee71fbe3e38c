-- Who has sent the request, as PostgREST says?
select nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'
