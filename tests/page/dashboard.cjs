// "Via Admin Dashboard": add an endpoint, select events, save and test, see the history.
"use strict";

const assert = require("node:assert/strict");
const { until } = require("./stage.cjs");

module.exports = async (stage) => {
  const page = await stage.signIn();
  const checks = [];
  page.on("response", (response) => response.url().endsWith("/rpc/check_webhook_url") && checks.push(response));
  // The first steps: what is sent, and how it is verified.
  const first = page.getByRole("region", { name: "Your first webhook" });
  await first.getByText('"event": "').waitFor();
  await first.getByText("Verification code").click();
  await first.getByText("verifyWebhook").waitFor();
  await page.getByRole("button", { name: "Add endpoint" }).click();

  // The database judges a URL once the field is left.
  const url = page.getByRole("textbox", { name: "URL" });
  await url.fill("ftp://example.com/");
  await until("the check of the URL", () => checks.length > 0);
  assert.equal(await url.getAttribute("aria-invalid"), null);
  await url.press("Tab");
  await page.locator('input[aria-invalid="true"]').waitFor();
  await page.getByRole("alert").getByText("https").waitFor();
  await url.fill(`${stage.receiver}/hook`);
  await page.getByText("Can be used.").waitFor();
  assert.equal(await url.getAttribute("aria-invalid"), null);

  // An error is at its field, which gets the focus, and disappears with the correction.
  await page.getByRole("button", { name: "Create endpoint" }).click();
  const noEvents = page.getByRole("alert").getByText("No event is selected");
  await noEvents.waitFor();
  assert.ok(await page.getByRole("switch", { name: "Everything" }).evaluate((field) => field === document.activeElement));
  await page.getByText("submission 0 of 2").click();
  const submitted = page.locator(".leaf", { has: page.getByText("submission.created", { exact: true }) });
  await submitted.getByText("Example").click();
  await submitted.getByText('"total_car_count"').waitFor();
  await submitted.getByRole("checkbox").check();
  await noEvents.waitFor({ state: "detached" });
  await page.getByText("inspection 0 of 2").click();
  await page.getByRole("checkbox", { name: "inspection.*" }).check();
  await page.getByText("inspection 2 of 2").waitFor();
  await stage.picture("add");
  await page.getByRole("button", { name: "Create endpoint" }).click();

  // The secret is shown once, and copied.
  const secret = await page.locator("code.secret").textContent();
  assert.match(secret, /^whsec_/);
  await page.getByRole("button", { name: "Copy secret" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
  assert.equal(stage.sql("select array_to_string(events, ' ') from webhook_endpoints"), "submission.created inspection.*");
  // Whose it is, every administrator of the auction sees.
  await page.getByText(`by user ${stage.sql("select id from users where email = 'dana@example.com'")}`).waitFor();

  // The test, and its answer.
  await page.getByRole("heading", { name: "Now test it" }).waitFor();
  await page.getByRole("combobox", { name: "Event" }).selectOption("inspection.created");
  await page.getByRole("button", { name: "Send test" }).click();
  await page.getByText(/Answered 200 after \d+ ms/).waitFor();
  await stage.picture("tested");
  // It is forgotten as soon as another view is shown.
  await page.getByRole("link", { name: "\u2190 Endpoints" }).click();
  await page.getByRole("link", { name: /\/hook/ }).click();
  await page.getByRole("button", { name: "Send test" }).waitFor();
  assert.equal(await page.getByText(secret).count(), 0);
  // A new endpoint has nothing wrong, and checks that only a person can judge.
  await page.getByRole("link", { name: "Health check" }).click();
  await page.getByText("No problems found.").waitFor();
  assert.equal(await page.locator(".checks .wrong").count(), 0);
  assert.ok((await page.locator(".checks .unknown").count()) > 0);
  await page.getByRole("link", { name: "Overview" }).click();
  await page.reload();
  await page.getByLabel("Access token").fill(stage.tokens.dana);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "/hook" }).waitFor();
  assert.equal(await page.getByText(secret).count(), 0);

  // Something happens, and is in the history by itself.
  await page.getByRole("link", { name: "Deliveries", exact: true }).click();
  await page.getByRole("button", { name: "inspection.created" }).waitFor();
  stage.emit('{"total_car_count": 42}');
  const row = page.getByRole("row", { name: /submission\.created Delivered 200/ });
  await row.waitFor();
  await row.getByRole("button").click();
  await page.getByText('"total_car_count": 42').waitFor();
  await page.getByText("x-webhook-signature: sha256=").waitFor();
  await page.getByText(/^Attempt 1/).waitFor();
  await page.getByRole("button", { name: "Send again" }).click();
  await page.getByText(/^Attempt 2/).waitFor();
  await stage.picture("delivery");

  // It is found by its id and by its response, and copied as a command.
  await page.getByRole("button", { name: "Copy as cURL" }).click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl --globoff -X POST 'http.*-H 'x-webhook-signature: sha256=.*--data-raw '{/is);
  await page.getByRole("button", { name: "Copy id" }).click();
  const id = await page.evaluate(() => navigator.clipboard.readText());
  const filters = page.getByRole("form", { name: "Filters" });
  await filters.getByLabel("Webhook ID").fill(id.slice(0, 20));
  await page.locator('input[aria-invalid="true"]').waitFor();
  await filters.getByLabel("Webhook ID").fill(id);
  await page.getByRole("row", { name: /inspection\.created/ }).waitFor({ state: "detached" });
  assert.equal(await page.getByRole("row", { name: /submission\.created/ }).count(), 1);
  await filters.getByLabel("Response").selectOption("4xx");
  await page.getByText("No deliveries match.").waitFor();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await page.getByRole("row", { name: /inspection\.created/ }).waitFor();
  await filters.getByLabel("Tests").selectOption("without tests");
  await page.getByRole("row", { name: /inspection\.created/ }).waitFor({ state: "detached" });
  assert.match(await page.title(), /\/hook \u2013 Webhooks$/);

  // A row opens by a click anywhere and closes by Escape; the view is in the address, and a link leads to the delivery.
  await page.keyboard.press("Escape");
  await page.getByText('"total_car_count": 42').waitFor({ state: "detached" });
  await page.getByRole("row", { name: /submission\.created/ }).getByText("Delivered").click();
  await page.getByText('"total_car_count": 42').waitFor();
  await page.getByRole("button", { name: "Copy link" }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  await page.waitForFunction(() => /[/]history[?]is_test=false&open=/.test(location.hash));
  await page.keyboard.press("Escape");
  await page.getByText('"total_car_count": 42').waitFor({ state: "detached" });
  await page.waitForFunction(() => /[/]history[?]is_test=false$/.test(location.hash));
  const other = await stage.signIn(stage.tokens.dana, link);
  await other.getByText('"total_car_count": 42').waitFor();
  assert.equal(await other.locator("table.deliveries tbody tr:not(.detail)").count(), 1);

  // What no filter can have is left out of the address.
  const mistyped = await stage.signIn(stage.tokens.dana, `${stage.url}#/history?hours=soon&status=lost&id=7`);
  await mistyped.getByRole("row", { name: /submission\.created/ }).first().waitFor();
  await mistyped.waitForFunction(() => location.hash === "#/history");

  // A URL that the auction has already is pointed out.
  await page.goto(`${stage.url}#/new`);
  await page.getByRole("textbox", { name: "URL" }).fill(`${stage.receiver}/hook`);
  await page.getByText("Another endpoint has this URL").waitFor();
  assert.match(await page.title(), /^Add an endpoint/);
};
