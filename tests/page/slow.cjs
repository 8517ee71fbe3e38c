// A server that lets one wait, and one that cannot be reached: it is said, nothing is lost, and it goes on by itself.
"use strict";

const assert = require("node:assert/strict");
const { until } = require("./stage.cjs");

module.exports = async (stage) => {
  const id = stage.endpoint(`${stage.receiver}/hook`);
  let release = await stage.hold("lock table public.webhook_endpoints");
  const page = await stage.signIn();
  await page.getByRole("status").getByText("Loading the webhooks…").waitFor();
  await release();
  const card = page.getByRole("link", { name: /\/hook/ });
  await card.waitFor();

  // A button that waits says so, cannot be pressed again, and does it once.
  await card.click();
  release = await stage.hold(`select from webhook_endpoints where id = '${id}' for update`);
  await page.getByRole("button", { name: "Turn off" }).click();
  const turnOff = page.getByRole("dialog").getByRole("button", { name: "Turn off" });
  await turnOff.click();
  await page.locator('button[aria-busy="true"]', { hasText: "Turn off" }).waitFor();
  assert.ok(await turnOff.isDisabled());
  await release();
  await page.getByRole("button", { name: "Turn on" }).waitFor();

  // What was there stays to be read while there is no connection.
  await page.getByRole("link", { name: "Delivery history" }).click();
  stage.sql(`update webhook_endpoints set is_active = true`);
  stage.emit();
  await page.getByRole("row", { name: /Delivered/ }).waitFor();
  await stage.browser.setOffline(true);
  await page.getByRole("alert").getByText("The server cannot be reached.").first().waitFor();
  assert.equal(await page.getByRole("row", { name: /Delivered/ }).count(), 1);
  await stage.browser.setOffline(false);
  stage.emit();
  await page.getByRole("row", { name: /Delivered/ }).nth(1).waitFor();
  await until("the notes to go", async () => (await page.getByRole("alert").count()) === 0);
  stage.faults = stage.faults.filter((fault) => !/ERR_INTERNET_DISCONNECTED/.test(fault));
};
