-- What do submission.created and submission.updated tell of a submission? Runs with the rights of the owner of public.submissions.
-- $1 ids of submissions
select submission.auction_id,
    json_build_object(
        'id', submission.id,
        'location_id', submission.location_id,
        'location_name', (select location.name from public.locations as location where location.id = submission.location_id),
        'user_id', submission.user_id,
        'submitted_by', (select submitter.full_name from public.users as submitter where submitter.id = submission.user_id),
        'submitted_at', to_char(timezone('UTC', submission.submitted_at), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'entries', coalesce(counted.entries, '[]'),
        'total_car_count', coalesce(counted.total, 0),
        'image_url', submission.image_url) as data
from unnest($1) with ordinality as wanted(id, position)
-- The limit keeps the planner from turning the look-up round: from reading the table, and looking for each row among the keys.
cross join lateral (select * from public.submissions where submissions.id = wanted.id limit 1) as submission
cross join lateral (
    select sum(entry.car_count) as total,
        json_agg(json_build_object(
            'type_id', entry.type_id,
            'type_name', (select kind.name from public.count_types as kind where kind.id = entry.type_id),
            'car_count', entry.car_count,
            'image_url', entry.image_url) order by entry.position, entry.id) as entries
    from public.submission_entries as entry
    where entry.submission_id = submission.id
) as counted
order by wanted.position
