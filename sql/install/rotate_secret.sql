-- Rotation of a secret while receivers still verify with the previous one: rotate_webhook_secret().

-- Runs with the caller's rights, which decide whether the caller may change the endpoint.
create function public.rotate_webhook_secret(endpoint_id uuid, keep_old_for interval default '24 hours') returns text
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    generated text;
begin
    if keep_old_for is null then
        raise exception using
            errcode = 'null_value_not_allowed',
            message = 'keep_old_for cannot be null',
            hint = 'Omit it for the default, or give an interval from 0 to 30 days: keep_old_for => ''24 hours''.';
    end if;
    perform webhook_delivery.begin_rotation(endpoint_id, extract(epoch from keep_old_for)::double precision);
    update public.webhook_endpoints as endpoint set updated_at = now()
    where endpoint.id = rotate_webhook_secret.endpoint_id
    returning webhook_delivery.show_generated_secret(endpoint.id) into generated;
    if not found then
        perform webhook_delivery.refuse_unknown_endpoint(endpoint_id);
    end if;
    return generated;
end
$$;

comment on function public.rotate_webhook_secret(uuid, interval) is
    'Gives the endpoint a generated secret, and returns it this once. For keep_old_for (up to 30 days) webhook-signature has the signatures of both secrets, the new one first; X-Webhook-Signature is made with the new one at once. Raises PT404 for an unknown endpoint (PostgREST answers 404)';
