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
  await page.getByText("More: headers").click();
  await page.getByLabel("Headers of your own").fill("X-Environment: test\nAuthorization: Bearer abc:def");
  await page.getByRole("switch", { name: "Strictly in order" }).check();
  await page.getByLabel("Requests a second").fill("2.5");
  await page.getByLabel("Waits after failed attempts").fill("10 seconds, 1 hour");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("of our warehouse").waitFor();
  assert.equal(row("events, headers, ordered, max_per_second, retry_schedule"),
    '{submission.updated}|{"Authorization": "Bearer abc:def", "X-Environment": "test"}|t|2.5|{00:00:10,01:00:00}');

  // What the database refuses is said, and stays to be mended.
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByText("More: headers").click();
  assert.equal(await page.getByLabel("Waits after failed attempts").inputValue(), "00:00:10, 01:00:00");
  await page.getByLabel("Headers of your own").fill("Host: example.com");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Headers of your own").inputValue(), "Host: example.com");
  await page.getByRole("button", { name: "Cancel" }).click();

  const before = stage.sql(`select secret from webhook_delivery.endpoint_secrets where endpoint_id = '${id}'`);
  await page.getByRole("button", { name: "Replace the secret" }).click();
  await page.getByRole("dialog").getByLabel("Keep the old one").selectOption("7 days");
  await page.getByRole("dialog").getByRole("button", { name: "Replace" }).click();
  const secret = await page.locator("code.secret").textContent();
  assert.equal(stage.sql(`select secret, previous_secret, previous_until > now() + interval '6 days' from webhook_delivery.endpoint_secrets`), `${secret}|${before}|t`);

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
  stage.emit('{"meanwhile": true}', 1, "submission.updated");
  await page.getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("heading", { name: /Active/ }).waitFor();
  await page.getByRole("region", { name: "Missed events" }).getByRole("button", { name: "Replay them" }).click();
  await page.getByText("Replayed: 1.").waitFor();
  await stage.settle();
  stage.sql("delete from webhook_endpoints where url like '%/other'");

  // Two wait, and would be lost.
  stage.sql(`select webhook_delivery.pause('for the test', endpoint_id => '${id}')`);
  stage.emit("{}", 2, "submission.updated");
  await page.getByRole("heading", { name: /Paused/ }).waitFor();
  await until("both to be told of", async () => {
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("dialog").waitFor();
    const isTold = await page.getByRole("dialog").getByText("2 events that wait for it will not be sent").count();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    return isTold;
  });
  assert.equal(row("count(*)"), "1");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete it" }).click();
  await page.getByText("There is none yet").waitFor();
  assert.equal(row("count(*)"), "0");
};
