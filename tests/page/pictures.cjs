// A week of an auction's webhooks, as an administrator finds it: also the pictures of the README.
"use strict";

const assert = require("node:assert/strict");

const EVENT = JSON.stringify({
  id: "7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601", location_id: "00000000-0000-4000-8000-0000000000b1", location_name: "North Lot",
  user_id: "00000000-0000-4000-8000-0000000000a2", submitted_by: "Sam Okafor", submitted_at: "2026-01-15T14:30:00.000Z",
  entries: [{ type_id: "00000000-0000-4000-8000-0000000000c1", type_name: "Sedan", car_count: 42, image_url: null }], total_car_count: 42, image_url: null,
});

/** Deliveries that have ended, every so often since so long ago; the last thing that was said of each. */
const ended = (stage, endpoint, type, every, since, until, failure) => `
  with known as (select t as at, webhook_delivery.uuid_v7_floor(t) as id, row_number() over () as n
      from generate_series(now() - interval '${since}', now() - interval '${until}', interval '${every}') as t)
  insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
      response_status_code, response_time_ms, error_kind, error_message, response_excerpt, attempted_at, created_at)
  select id, ${failure ? 6 : 1}, '${stage.auctions.riverside}', '${endpoint}', id, '${type}', true, '${failure ? "failed" : "success"}',
      ${failure ? "503" : "200"}, 40 + n * 37 % 61, ${failure ? "'http_status'" : "null"}, ${failure ? `'${failure}'` : "null"}, ${failure ? "'upstream is down'" : "null"}, at, at from known`;

module.exports = async (stage) => {
  // Nobody is called: these addresses are nobody's.
  stage.sql("select webhook_delivery.pause('for the pictures')");
  const [erp, reports, chat] = [
    ["https://erp.example.com/webhooks/auction", "{submission.*,inspection.created}", "Lot counts into our ERP"],
    ["https://hooks.example.net/rock-reports", "{problem.*}", "Reconditioning"],
    ["https://chat.example.org/auction", "{message.created,member.joined}", "Chat of the team"],
  ].map(([url, events, description]) => stage.sql(`insert into webhook_endpoints (auction_id, url, events, description)
    values ('${stage.auctions.riverside}', '${url}', '${events}', '${description}') returning id`));
  for (const [endpoint, type, every, since, until, failure] of [
    [erp, "submission.created", "11 minutes", "7 days", "70 seconds"],
    [erp, "inspection.created", "17 minutes", "7 days", "3 minutes"],
    [reports, "problem.created", "23 minutes", "7 days", "5 hours"],
    [reports, "problem.status_changed", "29 minutes", "5 hours", "100 minutes", "status 503"],
    [chat, "message.created", "9 minutes", "7 days", "40 seconds"],
    [chat, "message.created", "97 minutes", "20 hours", "1 hour", "status 503"],
  ]) stage.sql(ended(stage, endpoint, type, every, since, until, failure));
  stage.sql(`insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
    select event_id, auction_id, event_type, created_at, '${EVENT}' from webhook_delivery.attempts where event_type = 'submission.created' order by created_at desc limit 1`);
  stage.sql(`update webhook_endpoints set is_active = false, disabled_at = now() - interval '100 minutes',
    disabled_reason = '10 deliveries in a row have used up all of their attempts; the last: status 503' where id = '${reports}'`);
  for (let event = 0; event < 3; event += 1) stage.emit("{}", 1, "problem.created");

  const page = await stage.signIn();
  await page.setViewportSize({ width: 1000, height: 700 });
  const cards = page.getByRole("list", { name: "Endpoints" }).getByRole("link");
  await cards.filter({ hasText: "rock-reports" }).getByText("Disabled after failures", { exact: true }).waitFor();
  await cards.filter({ hasText: "erp" }).getByText("100% delivered, 24 h").waitFor();
  const chart = page.getByRole("region", { name: "Activity" }).getByRole("img");
  await chart.waitFor();
  assert.match(await chart.getAttribute("aria-label"), /^Last 24 hours: \d{3} delivered, \d\d failed$/);
  await stage.picture("endpoints");
  await page.getByRole("button", { name: "7 days" }).click();
  await page.getByRole("img", { name: /^Last 7 days: \d,\d{3} delivered, \d\d failed$/ }).waitFor();

  await cards.filter({ hasText: "erp" }).click();
  await page.getByRole("link", { name: "Deliveries", exact: true }).click();
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByRole("row", { name: /submission\.created/ }).first().getByRole("button").click();
  await page.getByText('"type_name": "Sedan"').waitFor();
  await page.setViewportSize({ width: 1000, height: 1150 });
  await stage.picture("delivery");

  await page.setViewportSize({ width: 390, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.getByRole("link", { name: "Endpoints", exact: true }).click();
  await cards.nth(2).waitFor();
  await stage.picture("phone");
};
