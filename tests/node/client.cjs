// supabase-js's calls work as an application's pages make them. Ends with an error where one does not.
// usage: node client.cjs URL TOKEN AUCTION RECEIVER
"use strict";

const assert = require("node:assert/strict");
const { PostgrestClient } = require("@supabase/postgrest-js");

const [url, token, auction_id, receiver] = process.argv.slice(2);
const db = new PostgrestClient(url, { headers: { apikey: "the gateway's", Authorization: `Bearer ${token}` } });

/** The rows; throws what the server says is wrong. */
async function rows(query) {
  const { data, error } = await query;
  if (error) throw new Error(`${error.code} ${error.message}`);
  return data;
}

/** What the server says is wrong. */
async function refused(query) {
  const { error, status } = await query;
  assert.ok(error, "it should have been refused");
  return { status, ...error };
}

async function endpoints() {
  const endpoint = { auction_id, url: receiver, events: ["submission.created"], secret: "your-signing-secret" };
  const inserted = await db.from("webhook_endpoints").insert(endpoint);
  assert.deepEqual([inserted.status, inserted.data, inserted.error], [201, null, null]);

  const made = await rows(
    db.from("webhook_endpoints").insert({ ...endpoint, secret: undefined }).select("*, generated_secret").single(),
  );
  assert.match(made.generated_secret, /^whsec_/);
  assert.equal(made.secret, "..." + made.generated_secret.slice(-4));
  const all = await rows(db.from("webhook_endpoints").select());
  assert.equal(all.length, 2);
  assert.ok(all.every((row) => /^[.]{3}....$/.test(row.secret) && row.generated_secret === undefined));

  const changed = await rows(
    db.from("webhook_endpoints").update({ events: ["*"], secret: made.secret }).eq("id", made.id).select(),
  );
  assert.deepEqual([changed[0].events, changed[0].secret], [["*"], made.secret]);
  const merged = await rows(
    db.from("webhook_endpoints").upsert({ id: made.id, ...endpoint, description: "ours" }).select().single(),
  );
  assert.deepEqual([merged.id, merged.description, merged.secret], [made.id, "ours", "...cret"]);
  const found = await rows(
    db.from("webhook_endpoints").select("id").contains("events", ["submission.created"]).eq("is_active", true).in("id", [made.id]),
  );
  assert.deepEqual(found, [{ id: made.id }]);

  const wrong = await refused(db.from("webhook_endpoints").insert({ ...endpoint, events: ["submission.deleted"] }).select());
  assert.deepEqual([wrong.status, wrong.code], [400, "22023"]);
  assert.match(wrong.hint, /submission\.created/);
  return made;
}

async function changes(endpoint) {
  const secret = await rows(db.rpc("rotate_webhook_secret", { endpoint_id: endpoint.id }));
  assert.match(secret, /^whsec_/);
  const limited = await rows(
    db.from("webhook_endpoints").update({ headers: { "X-Environment": "test" }, max_per_second: 100 }).eq("id", endpoint.id).select().single(),
  );
  assert.deepEqual([limited.headers, limited.max_per_second], [{ "X-Environment": "test" }, 100]);
  assert.deepEqual([limited.secret, limited.disabled_at], ["..." + secret.slice(-4), null]);
}

async function tests(endpoint) {
  const call = { endpoint_id: endpoint.id, event_type: "submission.created" };
  const tested = await rows(db.rpc("test_webhook", call));
  // The REST server of the tests gives null for an enum in a composite type; PostgREST does not.
  assert.ok([null, "pending"].includes(tested.status));
  const nobodys = await refused(db.rpc("test_webhook", { ...call, endpoint_id: "00000000-0000-4000-8000-00000000dead" }));
  assert.equal(nobodys.status, 404);
  const unknown = await refused(db.rpc("test_webhook", { ...call, event_type: "no.such" }));
  assert.equal(unknown.status, 400);
  return tested.delivery_id;
}

async function history(endpoint, id) {
  const deadline = Date.now() + 30_000;
  const delivery = db.from("webhook_deliveries").select("*, webhook_delivery_attempts(*)").eq("id", id).single();
  let { data } = await delivery;
  while (data.status === "pending" && Date.now() < deadline) ({ data } = await delivery);
  assert.deepEqual([data.status, data.response_status_code, data.attempts, data.is_test], ["success", 200, 1, true]);
  assert.equal(data.webhook_delivery_attempts[0].attempt, 1);

  const page = await db
    .from("webhook_deliveries")
    .select("id, webhook_endpoints(url)", { count: "exact" })
    .eq("endpoint_id", endpoint.id)
    .order("created_at", { ascending: false })
    .range(0, 49);
  assert.deepEqual([page.data, page.count], [[{ id, webhook_endpoints: { url: receiver } }], 1]);
  const embedded = await rows(
    db.from("webhook_endpoints").select("*, webhook_deliveries(*)").eq("id", endpoint.id).limit(10, { referencedTable: "webhook_deliveries" }),
  );
  assert.deepEqual(embedded[0].webhook_deliveries.map((row) => row.id), [id]);
  const known = await rows(db.from("webhook_event_types").select("event_type, schema, example").eq("family", "submission"));
  assert.ok(known.length > 0);
  assert.equal((await db.from("webhook_deliveries").delete().eq("id", id)).error?.code, "55000");
}

async function main() {
  const endpoint = await endpoints();
  await changes(endpoint);
  await history(endpoint, await tests(endpoint));
  const gone = await rows(db.from("webhook_endpoints").delete().eq("id", endpoint.id).select("id"));
  assert.deepEqual(gone, [{ id: endpoint.id }]);
}

main().catch((problem) => {
  console.error(problem);
  process.exitCode = 1;
});
