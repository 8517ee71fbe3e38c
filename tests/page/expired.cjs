// A token that has ended: whoever was typing goes on typing.
"use strict";

const assert = require("node:assert/strict");

module.exports = async (stage) => {
  // The first token is wrong: the anonymous key, or one that the server refuses. There is a way out.
  const page = await stage.signIn(`x.${btoa(JSON.stringify({ role: "anon" }))}.x`);
  await page.getByRole("alert").getByText("This is the anonymous key.").waitFor();
  await page.getByLabel("Access token").fill(stage.tokens.expired);
  await page.getByRole("button", { name: "Sign in" }).click();
  const refused = page.getByRole("dialog", { name: "This token was not accepted" });
  await refused.waitFor();
  for (let press = 0; press < 3; press += 1) await page.keyboard.press("Escape");
  await refused.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.getByLabel("Access token").fill(stage.tokens.expired);
  await page.getByRole("button", { name: "Sign in" }).click();
  await refused.getByLabel("Access token").fill(stage.tokens.dana);
  await refused.getByRole("button", { name: "Sign in" }).click();
  await refused.waitFor({ state: "detached" });

  // A reload forgets a typed token, unless the user wants to keep it; until the user signs out, and in this tab only.
  const kept = () => page.evaluate(() => [sessionStorage.length, localStorage.length]);
  await page.getByText("No endpoints yet.").waitFor();
  await page.reload();
  await page.getByLabel("Access token").fill(stage.tokens.dana);
  assert.deepEqual(await kept(), [0, 0]);
  await page.getByLabel("Stay signed in").check();
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("No endpoints yet.").waitFor();
  await page.reload();
  await page.getByText("No endpoints yet.").waitFor();
  assert.deepEqual(await kept(), [1, 0]);
  await page.getByRole("button", { name: "Sign out" }).click();
  assert.deepEqual(await kept(), [0, 0]);
  await page.reload();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.getByLabel("Access token").fill(stage.tokens.dana);
  await page.getByRole("button", { name: "Sign in" }).click();
  const dialog = page.getByRole("dialog", { name: "Your session has ended" });
  await page.getByText("No endpoints yet.").waitFor();

  await page.getByRole("button", { name: "Add endpoint" }).click();
  await page.getByRole("textbox", { name: "URL" }).fill(`${stage.receiver}/hook`);
  await page.getByText("Can be used.").waitFor();
  await page.getByRole("switch", { name: "Everything" }).check();
  // supabase-js, in another tab of the same site, keeps one that the server takes no more.
  const other = await stage.browser.newPage();
  await other.goto(stage.rest);
  const keep = (token) =>
    other.evaluate((token) => localStorage.setItem("sb-auction-auth-token", JSON.stringify({ access_token: token, expires_at: Date.now() / 1000 + 3600 })), token);
  // What the page asks by itself has no answer meanwhile, so that the button is what meets the expired token.
  await page.route(/webhook_endpoint_health|order=created_at/, () => {});
  await keep(stage.tokens.expired);
  await page.getByLabel("Description").fill("typed before it ended");
  await page.getByRole("button", { name: "Create endpoint" }).click();
  await dialog.waitFor();
  // It is refreshed there, and what was under way here goes on.
  await page.unroute(/webhook_endpoint_health|order=created_at/);
  await keep(stage.tokens.dana);
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("heading", { name: "Now test it" }).waitFor();
  assert.equal(stage.sql("select description from webhook_endpoints"), "typed before it ended");

  // Who comes with a session of supabase-js is signed in already.
  const next = await stage.open();
  await next.getByRole("link", { name: /\/hook/ }).waitFor();
};
