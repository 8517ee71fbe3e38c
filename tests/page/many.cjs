// A thousand deliveries: read page after page by key, drawn once, filtered by the server, and followed by themselves.
"use strict";

const assert = require("node:assert/strict");
const { until } = require("./stage.cjs");

module.exports = async (stage) => {
  const id = stage.endpoint(`${stage.receiver}/hook`, ["*"]);
  stage.endpoint(`${stage.receiver}/status/500`, ["problem.created"]);
  stage.sql("update webhook_endpoints set retry_schedule = '{1 hour}' where url like '%500'");
  stage.emit("{}", 3, "problem.created");
  stage.emit("{}", 1100);
  await until("all but what is retried", () => stage.sql("select count(*) from webhook_delivery.queue where attempts = 0") === "0");

  const page = await stage.signIn();
  const asked = [];
  page.on("request", (request) => request.url().includes("/webhook_deliveries?") && asked.push(new URL(request.url())));
  await page.getByRole("link", { name: "Delivery history" }).click();
  const rows = page.locator("table.deliveries tbody tr");
  await rows.nth(49).waitFor();
  const seen = () => rows.locator("time").evaluateAll((times) => times.map((time) => time.dateTime));
  for (let shown = 50; shown < 1000; shown += 50) {
    await page.getByRole("button", { name: "Load more" }).click();
    await rows.nth(shown + 49).waitFor();
  }
  const times = await seen();
  assert.equal(times.length, 1000);
  assert.deepEqual(times, [...times].sort().reverse(), "newest first");
  const offered = stage.sql("select count(distinct id) from webhook_deliveries");
  assert.equal(offered, "1106");
  assert.ok(asked.every((url) => url.searchParams.get("limit") === "50" && !url.searchParams.has("offset")), "by key");

  // One more is drawn, and none of the thousand anew.
  await page.evaluate(() => {
    window.drawn = 0;
    const observer = new MutationObserver((changes) => changes.forEach(({ addedNodes, type }) => (window.drawn += type === "childList" ? addedNodes.length : 1)));
    // Texts are not observed: relative times change by themselves.
    observer.observe(document.querySelector("table.deliveries tbody"), { childList: true, subtree: true, attributes: true });
  });
  stage.emit('{"number": 1}', 1, "inspection.created");
  await page.getByRole("row", { name: /inspection\.created Delivered/ }).waitFor();
  assert.equal(await rows.count(), 1001);
  // It may have been seen before it was delivered.
  assert.ok((await page.evaluate(() => window.drawn)) <= 8, "one row");

  // What is still to be done is followed wherever it stands in the list.
  for (const shown of [1051, 1101, 1107]) {
    await page.getByRole("button", { name: "Load more" }).click();
    await rows.nth(shown - 1).waitFor();
  }
  await page.getByRole("row", { name: /problem\.created Retrying/ }).nth(2).waitFor();
  stage.sql("select webhook_delivery.cancel(array_agg(id)) from (select id from webhook_deliveries where status = 'retrying' limit 1) as one");
  await page.getByRole("row", { name: /problem\.created Failed .*cancelled/ }).waitFor();
  assert.equal(await rows.count(), 1107);

  // By status, by event and family, by endpoint, by time.
  const choose = (page, label, value) => page.locator(".filters label", { hasText: new RegExp(`^${label}`) }).locator("select").selectOption(value);
  const filter = async (label, value, matches) => {
    await choose(page, label, value);
    await until(`${label} ${value}`, async () => {
      const texts = await rows.evaluateAll((rows) => rows.map((row) => row.textContent));
      return texts.length > 0 && texts.length <= 50 && texts.every((text) => matches.test(text));
    });
  };
  await filter("Status", "retrying", /Retrying500/);
  assert.equal(await rows.count(), 2);
  await filter("Status", "", /./);
  await filter("Event", "inspection.created", /inspection\.created/);
  await filter("Event", "problem.*", /problem\.created/);
  assert.equal(await rows.count(), 6);
  await filter("Endpoint", id, /hook/);
  assert.equal(await rows.count(), 3);
  await filter("Time", "1", /hook/);
  await choose(page, "Status", "failed");
  await page.getByText("No deliveries match.").waitFor();

  // From one time until another; the time is in the browser's zone, and in the address.
  await page.getByRole("button", { name: "Clear filters" }).click();
  await rows.nth(49).waitFor();
  await choose(page, "Time", "range");
  const soon = new Date(Date.now() + 3_600_000 - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  await page.getByRole("textbox", { name: "From" }).fill(soon);
  await page.getByText("No deliveries match.").waitFor();
  await page.waitForFunction(() => /hours=range&since=/.test(location.hash));
  await page.getByRole("textbox", { name: "From" }).fill("");
  await page.getByRole("textbox", { name: "Until" }).fill(soon);
  await rows.nth(49).waitFor();

  // Some are selected and retried, and all that match are, once their number is known. An exact time has its zone.
  assert.match(await rows.first().locator("time").getAttribute("title"), /\d{4}.*(UTC|GMT|[A-Z]{3,4})/);
  const requests = () => Number(stage.sql("select count(*) from webhook_delivery_attempts where event_type = 'inspection.created'"));
  await filter("Event", "inspection.created", /inspection\.created/);
  await rows.first().getByRole("checkbox").check();
  await page.getByRole("button", { name: "Retry 1 selected" }).click();
  await page.getByText("Sent again: 1.").waitFor();
  await until("a second request", () => requests() === 2);
  await filter("Event", "problem.*", /problem\.created/);
  const all = page.getByRole("button", { name: "Retry all failed that match" });
  await choose(page, "Response", "4");
  await page.getByText("No deliveries match.").waitFor();
  // One was cancelled, and two are being retried. All six are shown, and three of them have succeeded.
  await choose(page, "Response", "");
  await until("all six", async () => (await rows.count()) === 6);
  await all.click();
  await page.getByRole("dialog", { name: "Retry 3 deliveries?" }).getByRole("button", { name: "Cancel" }).click();
  await filter("Event", "submission.created", /submission\.created/);
  await all.click();
  await page.getByRole("dialog", { name: "No deliveries to retry match" }).getByRole("button", { name: "Close" }).click();
  stage.sql(`insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
      response_status_code, response_time_ms, error_kind, error_message, attempted_at, created_at)
    select webhook_delivery.uuid_v7(), 6, auction_id, endpoint_id, event_id, 'message.created', true, 'failed', 500, 1, 'http_status', 'status 500', now(), now()
    from webhook_delivery.attempts_ended where event_type = 'submission.created' limit 1100`);
  await choose(page, "Event", "message.created");
  await rows.nth(49).waitFor();
  await all.click();
  await page.getByRole("dialog", { name: "Retry 1,100 deliveries?" }).getByRole("button", { name: "Retry" }).click();
  await page.getByText("Sent again: 1,100.").waitFor();

  // What waits for another attempt is followed, cancelled, or sent at once.
  const again = await stage.signIn(stage.tokens.dana, `${stage.url}#/history`);
  await choose(again, "Status", "retrying");
  await choose(again, "Event", "problem.created");
  const waiting = again.getByRole("row", { name: /problem\.created Retrying 500/ });
  await waiting.nth(1).waitFor();
  await waiting.first().getByRole("button").click();
  await again.getByText(/The next attempt is due in/).waitFor();
  await again.getByRole("button", { name: "Cancel this delivery" }).click();
  await again.getByText("It is cancelled.").waitFor();
  await until("one to be left", async () => (await waiting.count()) === 1);

  // More than ten endpoints can be searched, and filtered by what they do.
  stage.sql(`insert into webhook_endpoints (auction_id, url, events, description, is_active)
    select '${stage.auctions.riverside}', '${stage.receiver}/' || n, '{message.created}', 'team ' || n, n <> 3 from generate_series(1, 10) as n`);
  await page.getByRole("link", { name: "Endpoints", exact: true }).click();
  const cards = page.getByRole("list", { name: "Endpoints" }).getByRole("link");
  await cards.nth(11).waitFor();
  const filters = page.getByRole("form", { name: "Filters" });
  await filters.getByLabel("Search").fill("TEAM 7");
  await until("the one that is searched", async () => (await cards.count()) === 1);
  await filters.getByLabel("State").selectOption("Turned off or paused");
  await page.getByText("No endpoints match.").waitFor();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await filters.getByLabel("State").selectOption("Turned off or paused");
  await until("the one that is turned off", async () => (await cards.count()) === 1);
  await cards.filter({ hasText: "team 3" }).waitFor();

  // A deleted endpoint keeps its name in the history.
  stage.sql("delete from webhook_endpoints where url like '%500'");
  await page.getByRole("link", { name: "Delivery history" }).click();
  await choose(page, "Event", "problem.*");
  await page.getByRole("cell", { name: /500 \(deleted\)$/ }).first().waitFor();
};
