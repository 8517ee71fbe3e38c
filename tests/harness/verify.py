# Verifies the signatures of requests. Written from the documentation, with the standard library alone.
import base64, hashlib, hmac, json, sys


def fault(secret, request):
    headers = {name.lower(): value for name, value in request["headers"]}
    body = base64.b64decode(request["body"])
    if "x-webhook-signature" not in headers or "webhook-signature" not in headers:
        return "a signature header is missing"

    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers["x-webhook-signature"]):
        return "X-Webhook-Signature is " + headers["x-webhook-signature"] + ", expected " + expected

    key = base64.b64decode(secret[len("whsec_"):]) if secret.startswith("whsec_") else secret.encode()
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if expected not in headers["webhook-signature"].split(" "):
        return "webhook-signature is " + headers["webhook-signature"] + ", expected " + expected
    return None


question = json.load(sys.stdin)
json.dump([fault(question["secret"], request) for request in question["requests"]], sys.stdout)
