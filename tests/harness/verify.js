// Verifies the signatures of requests. Written from the documentation, with Node's own crypto alone.
const { createHmac } = require("node:crypto");
const { readFileSync } = require("node:fs");

function fault(secret, request) {
  const headers = Object.fromEntries(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const body = Buffer.from(request.body, "base64");

  const hex = "sha256=" + createHmac("sha256", secret).update(body).digest("hex");
  if (headers["x-webhook-signature"] !== hex)
    return `X-Webhook-Signature is ${headers["x-webhook-signature"]}, expected ${hex}`;

  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice("whsec_".length), "base64") : secret;
  const signed = createHmac("sha256", key)
    .update(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`)
    .update(body);
  const standard = "v1," + signed.digest("base64");
  if (!(headers["webhook-signature"] ?? "").split(" ").includes(standard))
    return `webhook-signature is ${headers["webhook-signature"]}, expected ${standard}`;
  return null;
}

const question = JSON.parse(readFileSync(0));
process.stdout.write(JSON.stringify(question.requests.map((request) => fault(question.secret, request))));
