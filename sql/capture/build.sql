-- How does a changed row become an event, without ever costing the user his transaction?

create function webhook_delivery.capture(event_type text, row_ids uuid[]) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    middle integer;
begin
    begin
        -- One static statement for each family: its plan is kept for the session.
        case split_part(event_type, '.', 1)
            when 'submission' then
                perform webhook_delivery.fan_out(event_type, array_agg(payload.auction_id), array_agg(payload.data))
                from webhook_delivery.submission_payload(row_ids) as payload;
        end case;
        return;
    exception when others then
        if current_setting('webhook_delivery.on_capture_error') = 'error' then
            raise;
        end if;
        if cardinality(row_ids) = 1 then
            declare
                error_detail text;
                error_hint text;
                error_context text;
            begin
                get stacked diagnostics error_detail = pg_exception_detail, error_hint = pg_exception_hint, error_context = pg_exception_context;
                perform webhook_delivery.record_capture_error(event_type, row_ids, sqlstate, sqlerrm, error_detail, error_hint, error_context);
                return;
            end;
        end if;
    end;
    -- One row that cannot be built must not cost the others their event: halve until it stands alone.
    middle := cardinality(row_ids) / 2;
    perform webhook_delivery.capture(event_type, row_ids[:middle]);
    perform webhook_delivery.capture(event_type, row_ids[middle + 1:]);
end
$$;

comment on function webhook_delivery.capture(text, uuid[]) is
    'Builds the events of these rows set-wise with <family>_payload() and fans them out. An error becomes a WARNING and a row of capture_errors, or is raised where webhook_delivery.on_capture_error = error';

create function webhook_delivery.record_capture_error(
    event_type text, row_ids uuid[], error_code text, error_message text, error_detail text, error_hint text, error_context text
) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into webhook_delivery.capture_errors (event_type, row_ids, error_code, error_message, detail, hint, context)
    values (event_type, row_ids, error_code, error_message, nullif(error_detail, ''), nullif(error_hint, ''), nullif(error_context, ''));
    raise warning using
        errcode = error_code,
        message = format('webhook event %s was not sent: %s', event_type, error_message),
        detail = format('Rows: %s.', array_to_string(row_ids, ', ')),
        hint = 'Your change is saved. See webhook_delivery.capture_errors; emit the event again once the cause is gone.';
end
$$;

comment on function webhook_delivery.record_capture_error(text, uuid[], text, text, text, text, text) is
    'Makes a failed capture visible: a row of capture_errors and a WARNING';

create function webhook_delivery.iso8601(moment timestamptz) returns text
    language sql stable parallel safe
    -- Without SET search_path, which would keep the planner from inlining it; every name is qualified.
    as $$ select pg_catalog.to_char(pg_catalog.timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

comment on function webhook_delivery.iso8601(timestamptz) is 'A time as payloads write it: ISO 8601, UTC, milliseconds, Z';

create function webhook_delivery.submission_payload(row_ids uuid[]) returns table (auction_id uuid, data json)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    return query
        select submission.auction_id,
            json_build_object(
                'id', submission.id,
                'location_id', submission.location_id,
                'location_name', (select location.name from public.locations as location where location.id = submission.location_id),
                'user_id', submission.user_id,
                'submitted_by', (select submitter.full_name from public.users as submitter where submitter.id = submission.user_id),
                'submitted_at', webhook_delivery.iso8601(submission.submitted_at),
                'entries', coalesce(counted.entries, '[]'),
                'total_car_count', coalesce(counted.total, 0),
                'image_url', submission.image_url)
        from unnest(row_ids) with ordinality as wanted(id, position)
        join public.submissions as submission on submission.id = wanted.id
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
        order by wanted.position;
end
$$;

comment on function webhook_delivery.submission_payload(uuid[]) is
    'The data of submission.created and submission.updated for these submissions, those that exist, in this order';
