-- Returns the secrets that are not encrypted with this key.
-- $1 key, null for secrets that are encrypted at all
select stored.endpoint_id, stored.algorithm::text, stored.is_previous, stored.key_id, stored.secret
from webhook_delivery.endpoint_secrets as stored
where stored.key_id is distinct from $1
