// Every text that a receiver or a tenant has a say in comes as an attack, and is shown as the text that it is.
"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");

const ATTACK = `"'><img src=x onerror="window.broken=1"><script>window.broken=1</script>\${window.broken=1}{{constructor}}</pre>`;
const quoted = ATTACK.replaceAll("'", "''");

/** A receiver whose answers are attacks. */
async function attacker() {
  const server = http.createServer((request, response) => {
    request.resume().on("end", () => {
      if (request.url.startsWith("/redirect")) response.writeHead(302, { Location: `javascript:window.broken=1//2026-99-99T99Z${encodeURI(ATTACK)}`, "X-Mine": "<b>" });
      else response.writeHead(500, { "Content-Type": "text/html" });
      response.end(ATTACK);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

module.exports = async (stage) => {
  const server = await attacker();
  const at = `http://127.0.0.1:${server.address().port}`;
  stage.sql(`update auctions set name = '${quoted}'`);
  stage.sql(`insert into auction_members (auction_id, user_id, role) select '${stage.auctions.hilltop}', id, 'admin' from users where email = 'dana@example.com'`);
  stage.sql(`select webhook_delivery.register_event_type('evil.made', '${quoted}', 'true', json_build_object('${quoted}', '${quoted}'))`);
  const path = encodeURIComponent(ATTACK).replaceAll("'", "%27");
  const id = stage.sql(`insert into webhook_endpoints (auction_id, url, events, description, headers, retry_schedule)
    values ('${stage.auctions.riverside}', '${at}/answer?${path}#${path}', '{*}', '${quoted}', jsonb_build_object('X-Mine', '${quoted}'), '{}') returning id`);
  const redirected = stage.endpoint(`${at}/redirect`);
  stage.sql(`update webhook_endpoints set retry_schedule = '{}' where id = '${redirected}'`);
  stage.sql(`select webhook_delivery.emit('evil.made', '${stage.auctions.riverside}', json_build_object('text', '${quoted}'))`);
  await stage.settle();
  stage.sql(`update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = '${quoted}' where id = '${id}'`);

  const page = await stage.signIn();
  const shows = (where = page) => where.getByText("onerror=").first().waitFor();
  const untouched = async (what) => {
    assert.equal(await page.evaluate(() => window.broken), undefined, what);
    assert.equal(await page.locator("img, #page script, a[href^=javascript]").count(), 0, what);
  };
  await shows(page.getByRole("list", { name: "Endpoints" }));
  await untouched("the endpoints");
  await page.goto(`${stage.url}#/endpoints/${id}`);
  await page.getByRole("heading", { name: /answer/ }).waitFor();
  await shows(page.getByRole("main"));
  await untouched("an endpoint");
  await page.getByRole("button", { name: "Send test" }).click();
  await page.getByText("status 500").first().waitFor();
  await untouched("a test");
  await page.getByRole("link", { name: "Health check" }).click();
  await page.getByRole("region", { name: "Diagnosis" }).getByRole("listitem").first().waitFor();
  await untouched("the diagnosis");
  // The address of a redirect looks like a time that there is not.
  await page.goto(`${stage.url}#/endpoints/${redirected}/trouble`);
  await page.getByRole("region", { name: "Diagnosis" }).getByText("2026-99-99T99Z").first().waitFor();
  await untouched("the diagnosis of a redirect");
  await page.goto(`${stage.url}#/endpoints/${id}`);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("textarea").waitFor({ state: "attached" });
  await untouched("the form");
  await page.getByRole("button", { name: "Cancel" }).click();

  await page.getByRole("link", { name: "Delivery history" }).click();
  for (const row of [page.getByRole("row", { name: /evil\.made Failed 500/ }), page.getByRole("row", { name: /evil\.made Failed 302/ })]) {
    await row.getByRole("button").click();
    const delivery = page.locator(".delivery");
    await delivery.getByText("Response body").click();
    await shows(delivery.locator(".attempts pre"));
    await shows(delivery.locator("pre.payload"));
    await untouched("a delivery");
    await row.getByRole("button").click();
  }
  await page.goto(`${stage.url}#/new`);
  await page.getByRole("combobox", { name: /^Auction/ }).waitFor();
  await page.getByText("evil 0 of 1").click();
  await shows(page.locator(".leaf"));
  await page.locator(".leaf", { has: page.getByText("evil.made", { exact: true }) }).getByText("Example").click();
  await untouched("the catalogue");
  // And what the server says of what was typed.
  await page.getByRole("textbox", { name: "URL" }).fill(`https://example.com:99/${ATTACK}`);
  await page.getByRole("textbox", { name: "URL" }).press("Tab");
  await page.locator('input[aria-invalid="true"]').waitFor();
  await page.getByText("More: filter").click();
  await page.getByLabel("Custom headers").fill(ATTACK);
  await page.getByRole("checkbox", { name: "evil.*" }).check();
  await page.getByRole("button", { name: "Create endpoint" }).click();
  await shows(page.getByRole("alert"));
  await untouched("a refusal");
  server.close();
};
