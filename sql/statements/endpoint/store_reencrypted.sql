-- Stores a secret in another form.
-- $1 endpoint, $2 algorithm, $3 whether it is the previous one, $4 key, $5 the secret
update webhook_delivery.endpoint_secrets as stored set key_id = $4, secret = $5
where stored.endpoint_id = $1 and stored.algorithm::text = $2 and stored.is_previous = $3
