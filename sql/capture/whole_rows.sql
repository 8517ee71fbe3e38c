-- What does an event of row_event() tell? The row, and of one that was changed what it was before where that is something else.
-- Runs with the rights of the owner of the table; the columns' names stand for @auction_column@ and @left_out@.
-- @changed@: which rows they are, or null, and the rows, now and before
select changed.id, (changed.previous -> 'now' ->> @auction_column@)::uuid as auction_id,
    case when changed.previous ->> 'before' is null and left_out.columns = '{}' then changed.previous -> 'now' else told.data end as data
from @changed@
cross join (values (array[@left_out@]::text[])) as left_out (columns)
cross join lateral (
    select json_object_agg(before.key, before.value order by before.position) as fields
    from json_each(case when changed.previous ->> 'before' is not null then changed.previous -> 'before' else '{}' end)
        with ordinality as before (key, value, position)
    join json_each(changed.previous -> 'now') as now on now.key = before.key
    where before.key <> all (left_out.columns) and before.value::text is distinct from now.value::text
) as previous
cross join lateral (
    select json_object_agg(field.key, field.value order by field.position) as data
    from (
        select now.key, now.value, now.position
        from json_each(changed.previous -> 'now') with ordinality as now (key, value, position)
        where now.key <> all (left_out.columns)
        union all
        select 'previous', previous.fields, null
        where changed.previous ->> 'before' is not null
    ) as field
) as told
-- What changed may all have been left out.
where changed.previous ->> 'before' is null or previous.fields is not null
order by changed.position
