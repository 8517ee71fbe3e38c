// The application's name, logo and colour, and a browser in another language.
"use strict";

const assert = require("node:assert/strict");

module.exports = async (stage) => {
  stage.endpoint(`${stage.receiver}/hook`);
  const page = await stage.signIn();
  const card = page.getByRole("link", { name: /\/hook/ });
  await card.waitFor();
  assert.equal(await page.title(), "Endpoints \u2013 Auction \u00fc <Excellence> & {api}");
  assert.equal(await page.locator(".brand").textContent(), "Auction \u00fc <Excellence> & {api}");
  assert.ok(await page.locator(".brand img").evaluate((logo) => logo.complete && logo.naturalWidth > 0));
  const button = await page.getByRole("button", { name: "Add endpoint" }).evaluate((button) => {
    const { backgroundColor, color } = getComputedStyle(button);
    return [backgroundColor, color];
  });
  assert.deepEqual(button, ["rgb(255, 204, 0)", "rgb(0, 0, 0)"]);
  assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
};
