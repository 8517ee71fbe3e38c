import { createHmac, timingSafeEqual } from "node:crypto";

/** The event, or an error where the request is not ours or is older than five minutes. `headers` in lower case, `body` as it came. */
export function verifyWebhook(secret: string, headers: Record<string, string | undefined>, body: string): unknown {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  const signatures = headers["webhook-signature"] ?? "";
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300)) throw new Error("the webhook is too old");
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  const isOurs = signatures.split(" ").some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ""), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!isOurs) throw new Error("the signature is wrong");
  return JSON.parse(body);
}
