// Who sees what: an administrator his auctions' webhooks, a member nothing, and who is not signed in not even a request.
"use strict";

const assert = require("node:assert/strict");

module.exports = async (stage) => {
  stage.endpoint(`${stage.receiver}/riverside`);
  stage.endpoint(`${stage.receiver}/hilltop`, ["*"], stage.auctions.hilltop);
  const endpoints = (page) => page.getByRole("list", { name: "Endpoints" }).getByRole("link");

  const page = await stage.open();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await page.getByRole("navigation", { name: "Views" }).count(), 0);
  await page.goto(`${stage.url}#/history`);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.deepEqual(asked, []);

  for (const [who, own] of [["dana", "/riverside"], ["kim", "/hilltop"]]) {
    await page.getByLabel("Access token").fill(stage.tokens[who]);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("link", { name: "Endpoints", exact: true }).click();
    await endpoints(page).filter({ hasText: own }).waitFor();
    assert.equal(await endpoints(page).count(), 1);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.equal(await page.getByText(own).count(), 0);
  }

  const member = await stage.signIn(stage.tokens.sam);
  await member.getByText("You administer no auction").waitFor();
  // Another's address leads nowhere, either.
  const id = stage.sql(`select id from webhook_endpoints where url like '%hilltop'`);
  const dana = await stage.signIn(stage.tokens.dana, `${stage.url}#/endpoints/${id}`);
  await dana.getByText("This endpoint does not exist").waitFor();

  // The event types, with what a receiver has to know of them.
  await dana.getByRole("link", { name: "Event types" }).click();
  await dana.getByLabel("Search").fill("rock report");
  const type = dana.getByRole("article").filter({ hasText: "problem.created" });
  await type.getByText("Example", { exact: true }).click();
  await type.getByText("JSON Schema", { exact: true }).click();
  await type.getByText('"type": "object"').first().waitFor();
  assert.equal(await dana.getByRole("article").filter({ hasText: "submission.created" }).count(), 0);

  const operator = await stage.signIn(stage.tokens.service);
  await endpoints(operator).nth(1).waitFor();
  await operator.getByText("Hilltop Auto Auction").waitFor();
};
