// Verifies the asymmetric signatures of requests. Written from the documentation, with Node's own crypto alone.
const { createPublicKey, verify } = require("node:crypto");
const { readFileSync } = require("node:fs");

function fault(publicKey, request) {
  const headers = Object.fromEntries(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = Buffer.concat([
    Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`),
    Buffer.from(request.body, "base64"),
  ]);
  const signatures = (headers["webhook-signature"] ?? "").split(" ");
  if (!signatures.every((signature) => signature.startsWith("v1a,"))) return `webhook-signature is ${signatures}`;
  const isValid = (signature) => verify(null, signed, key, Buffer.from(signature.slice("v1a,".length), "base64"));
  return signatures.some(isValid) ? null : `no signature of ${signatures} is valid`;
}

const question = JSON.parse(readFileSync(0));
process.stdout.write(JSON.stringify(question.requests.map((request) => fault(question.secret, request))));
