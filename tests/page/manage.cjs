// What an administrator changes of an endpoint, and what he is told before it is lost.
"use strict";

const assert = require("node:assert/strict");
const { until } = require("./stage.cjs");

module.exports = async (stage) => {
  const id = stage.endpoint(`${stage.receiver}/hook`, ["submission.*"]);
  const page = await stage.signIn(stage.tokens.dana, `${stage.url}#/endpoints/${id}`);
  const row = (columns) => stage.sql(`select ${columns} from webhook_endpoints where id = '${id}'`);

  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Description").fill("of our warehouse");
  await page.getByRole("checkbox", { name: "submission.*" }).uncheck();
  await page.getByRole("checkbox", { name: "submission.updated" }).check();
  await page.getByText("More: filter").click();
  // A filter is tried before it is saved.
  await page.getByLabel("Filter").fill("$.total_car_count > 50");
  await page.getByRole("button", { name: "Try it" }).click();
  const tried = page.getByRole("list", { name: "Events to which the filter applies" });
  await tried.getByText("submission.updated").waitFor();
  assert.match(await tried.innerText(), /^Sent/);
  await page.getByLabel("Filter").first().fill("$.total_car_count < 50");
  await page.getByRole("button", { name: "Try it" }).click();
  await tried.getByText("Not sent").waitFor();
  await page.getByLabel("Custom headers").fill("X-Environment: test\nAuthorization: Bearer abc:def");
  await page.getByRole("switch", { name: "Strictly in order" }).check();
  await page.getByLabel("Maximum requests per second").fill("2.5");
  await page.getByLabel("Retries after a failure").selectOption("other waits\u2026");
  await page.getByLabel("Waits after failed attempts").fill("10 seconds, 1 hour");
  await page.getByLabel("Signature").selectOption("ed25519");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("of our warehouse").waitFor();
  assert.equal(row("events, filter, headers, ordered, max_per_second, retry_schedule"),
    '{submission.updated}|($."total_car_count" < 50)|{"Authorization": "Bearer abc:def", "X-Environment": "test"}|t|2.5|{00:00:10,01:00:00}');

  await page.getByText(row("public_key")).waitFor();
  await page.getByRole("button", { name: "Copy public key" }).waitFor();

  // What the database refuses is at its field, which stays to be corrected.
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByText("More: filter").click();
  assert.equal(await page.getByLabel("Waits after failed attempts").inputValue(), "00:00:10, 01:00:00");
  const field = (label) => page.getByLabel(label);
  for (const [label, wrong, right] of [
    ["Filter", "$.total_car_count", "$.total_car_count > 50"],
    ["Custom headers", "Host: example.com", "X-Environment: test"],
    ["Waits after failed attempts", "soon", "1 minute"],
    ["Waits after failed attempts", "40 days", "1 minute"],
    ["Maximum requests per second", "20000", "2.5"],
  ]) {
    await field(label).fill(wrong);
    await page.getByText("More: filter").click();
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("alert").waitFor();
    const [name, isFocused] = await field(label).evaluate((field) => [field.getAttribute("aria-invalid"), field === document.activeElement]);
    assert.deepEqual([name, isFocused, await field(label).inputValue()], ["true", true, wrong], label);
    await field(label).fill(right);
    await page.getByRole("alert").waitFor({ state: "detached" });
  }
  // What is typed is not lost without a question, by any way out.
  const discard = page.getByRole("dialog", { name: "Discard what you have typed?" });
  await page.getByRole("link", { name: "Delivery history" }).click();
  await discard.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await discard.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await discard.getByRole("button", { name: "Cancel" }).click();
  assert.equal(await field("Waits after failed attempts").inputValue(), "1 minute");
  await page.getByLabel("Retries after a failure").selectOption("none: a single attempt");
  await page.getByRole("button", { name: "Save" }).click();
  await until("the saved schedule", () => row("retry_schedule") === "{}");
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByText("More: filter").click();
  await page.getByLabel("Retries after a failure").selectOption("patient");
  await page.getByRole("button", { name: "Save" }).click();
  // What was saved is what is edited next, even before it is loaded again.
  await until("the saved schedule", () => row("retry_schedule") === '{00:01:00,00:10:00,01:00:00,06:00:00,"1 day","2 days","4 days"}');
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByText("More: filter").click();
  assert.equal(await page.getByLabel("Retries after a failure").inputValue(), "patient");
  await page.getByLabel("Description").fill("never saved");
  await page.getByRole("link", { name: "Delivery history" }).click();
  await discard.getByRole("button", { name: "Discard" }).click();
  await page.getByRole("heading", { name: "Delivery history" }).waitFor();
  await page.goBack();
  await page.getByRole("button", { name: "Edit" }).waitFor();
  assert.equal(row("description"), "of our warehouse");

  const before = stage.sql(`select secret from webhook_delivery.endpoint_secrets where endpoint_id = '${id}' and algorithm = 'hmac'`);
  await page.getByRole("button", { name: "Replace the secret" }).click();
  await page.getByRole("dialog").getByLabel("Keep the old one").selectOption("7 days");
  await page.getByRole("dialog").getByRole("button", { name: "Replace" }).click();
  const secret = await page.locator("code.secret").textContent();
  assert.equal(stage.sql(`select string_agg(concat_ws('|', secret, signs_until > now() + interval '6 days'), ',' order by is_previous) from webhook_delivery.endpoint_secrets where endpoint_id = '${id}' and algorithm = 'hmac'`), `${secret},${before}|t`);

  // Turned off, it is asked first: events meanwhile are not kept for it, and can be replayed if another endpoint received them.
  await page.getByRole("button", { name: "Turn off" }).click();
  const off = page.getByRole("dialog", { name: "Turn off this endpoint?" });
  await off.getByText("are not kept for it").waitFor();
  await off.getByRole("button", { name: "Cancel" }).click();
  assert.equal(row("is_active"), "t");
  await page.getByRole("button", { name: "Turn off" }).click();
  await off.getByRole("button", { name: "Turn off" }).click();
  await page.getByRole("heading", { name: /Turned off/ }).waitFor();
  assert.equal(row("is_active"), "f");
  stage.sql(`insert into webhook_endpoints (auction_id, url, events) values ('${stage.auctions.riverside}', '${stage.receiver}/other', '{*}')`);
  stage.emit('{"total_car_count": 51}', 1, "submission.updated");
  await page.getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("heading", { name: /Active/ }).waitFor();
  await page.getByRole("region", { name: "Missed events" }).getByRole("button", { name: "Replay them" }).click();
  await page.getByText("Replayed: 1.").waitFor();
  await stage.settle();
  stage.sql("delete from webhook_endpoints where url like '%/other'");

  // Two wait, and would be lost.
  stage.sql(`select webhook_delivery.pause('for the test', endpoint_id => '${id}')`);
  stage.emit('{"total_car_count": 51}', 2, "submission.updated");
  await page.getByRole("heading", { name: /Paused/ }).waitFor();
  await until("both to be counted", async () => {
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("dialog").waitFor();
    const isCounted = await page.getByRole("dialog").getByText("2 events that wait for it will not be sent").count();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    return isCounted;
  });
  assert.equal(row("count(*)"), "1");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete it" }).click();
  await page.getByText("No endpoints yet.").waitFor();
  assert.equal(row("count(*)"), "0");
};
