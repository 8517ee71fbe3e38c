// "Via Admin Dashboard": add an endpoint, select events, save and test, see the history.
"use strict";

const assert = require("node:assert/strict");

module.exports = async (stage) => {
  const page = await stage.signIn();
  await page.getByText("There is none yet").waitFor();
  await page.getByRole("button", { name: "Add endpoint" }).click();

  // What is typed is judged as the database judges it, while it is typed.
  const url = page.getByRole("textbox", { name: "URL" });
  await url.fill("ftp://example.com/");
  await page.locator('input[aria-invalid="true"]').waitFor();
  await page.locator("#url-check", { hasText: "https" }).waitFor();
  await url.fill(`${stage.receiver}/hook`);
  await page.locator('input[aria-invalid="false"]').waitFor();
  await page.getByText("Can be used.").waitFor();

  await page.getByRole("button", { name: "Save and test" }).click();
  await page.getByRole("alert").getByText("No event is selected").waitFor();
  await page.getByText("submission 0 of 2").click();
  const submitted = page.locator(".leaf", { has: page.getByText("submission.created", { exact: true }) });
  await submitted.getByText("Example").click();
  await submitted.getByText('"total_car_count"').waitFor();
  await submitted.getByRole("checkbox").check();
  await page.getByText("inspection 0 of 2").click();
  await page.getByRole("checkbox", { name: "inspection.*" }).check();
  await page.getByText("inspection 2 of 2").waitFor();
  await stage.picture("add");
  await page.getByRole("button", { name: "Save and test" }).click();

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
  await page.getByRole("button", { name: "I have stored it" }).click();
  assert.equal(await page.getByText(secret).count(), 0);
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
};
