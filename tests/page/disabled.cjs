// "Endpoint disabled automatically": what is shown, how one finds out why, and how it goes on.
"use strict";

const assert = require("node:assert/strict");

module.exports = async (stage) => {
  await stage.switchTo(500);
  const id = stage.endpoint(`${stage.receiver}/switch`);
  stage.emit("{}", 2);
  const page = await stage.signIn();
  const card = page.getByRole("link", { name: /\/switch/ });
  await card.getByText("Disabled after failures", { exact: true }).waitFor();
  await card.getByText(/2 deliveries in a row have used up all of their attempts; the last: status 500/).waitFor();
  // What happens now waits for it.
  stage.emit('{"meanwhile": true}');
  await card.locator(".queued", { hasText: "1" }).waitFor();
  await card.getByText("0% delivered, 24 h").waitFor();
  await card.click();

  await page.getByText("Events since then are kept").waitFor();
  await page.getByRole("link", { name: "Why?" }).click();
  const checks = page.getByRole("region", { name: "Diagnosis" }).getByRole("listitem");
  await checks.filter({ hasText: "status 500" }).first().waitFor();
  // In the words of the page: no SQL, no function, no time of another zone.
  assert.doesNotMatch(await page.getByRole("region", { name: "Diagnosis" }).innerText(), /select |update |_webhook|\d{4}-\d\d-\d\dT/);
  assert.ok((await page.locator(".checks .wrong .what").count()) > 0, "it says what to do");
  await stage.picture("troubleshooting");

  // The response to a failed test is shown with its body.
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("button", { name: "Send test event" }).click();
  await page.getByRole("region", { name: "Test" }).getByText("Response body").click();
  await page.getByText("as it is switched").waitFor();
  // The latest deliveries by event type and response, each with a link to them.
  const latest = page.getByRole("region", { name: /^Latest \d deliveries$/ });
  await latest.getByRole("row", { name: "submission.created 2 100%" }).waitFor();
  assert.equal(await latest.getByRole("link", { name: "status 500" }).getAttribute("href"), `#/endpoints/${id}/history?response=5`);

  // Mended, it is tested while it is still off, and then enabled.
  await stage.switchTo(200);
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("button", { name: "Send test" }).click();
  await page.getByText(/Answered 200/).waitFor();
  await page.getByRole("button", { name: "Turn on", exact: true }).click();
  await page.getByRole("heading", { name: /Active/ }).waitFor();
  await stage.settle();
  await page.getByRole("link", { name: "Deliveries", exact: true }).click();
  await page.getByRole("row", { name: /Delivered/ }).nth(1).waitFor();
  // Two events and a test.
  assert.equal(await page.getByRole("row", { name: /Failed 500/ }).count(), 3);

  // The failed deliveries are retried, once their number is known.
  await page.getByRole("link", { name: "Health check" }).click();
  await page.getByRole("link", { name: "Show its failed deliveries" }).click();
  await page.getByRole("row", { name: /Failed 500/ }).nth(1).waitFor();
  await page.getByRole("button", { name: "Retry all failed that match" }).click();
  await page.getByRole("dialog", { name: "Retry 2 deliveries?" }).getByRole("button", { name: "Retry" }).click();
  await page.getByText("Sent again: 2.").waitFor();
  await page.getByRole("combobox", { name: "Status" }).selectOption("all");
  await page.getByRole("row", { name: /Delivered/ }).nth(3).waitFor();
  assert.equal(await page.getByRole("row", { name: /Failed/ }).count(), 1, "the test, which is not retried");
  assert.equal(stage.sql(`select is_active from webhook_endpoints where id = '${id}'`), "t");
};
