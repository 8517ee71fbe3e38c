// In a frame of an admin application, which hands over its token; and as a file on another web server.
"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");
const { until } = require("./stage.cjs");

/** An application that shows the page and answers its question for a token, by turns with these. */
const application = (page, tokens) => `<!doctype html><title>Application</title><iframe src="${page}" width="1000" height="700"></iframe>
<script>
  const tokens = ${JSON.stringify(tokens)};
  window.asked = 0;
  addEventListener("message", ({ source, data }) => {
    const frame = document.querySelector("iframe");
    if (source === frame.contentWindow && data?.webhook_admin === "height") window.height = data.height;
    if (source !== frame.contentWindow || data?.webhook_admin !== "token") return;
    window.asked += 1;
    frame.contentWindow.postMessage({ access_token: tokens.length > 1 ? tokens.shift() : tokens[0] }, "*");
  });
</script>`;

async function serve(port, pages) {
  const server = http.createServer((request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(pages[request.url] ?? "");
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

module.exports = async (stage) => {
  stage.endpoint(`${stage.receiver}/hook`);
  const file = stage.sql(`select webhook_delivery.admin_page('${stage.rest}')`);
  // The first token has ended: the page asks for another.
  const pages = { "/app": application(stage.url, [stage.tokens.expired, stage.tokens.dana]), "/file": file, "/around": application("/file", [stage.tokens.dana]) };
  const server = await serve(stage.embedder, pages);
  const listed = `http://127.0.0.1:${stage.embedder}`;

  let page = await stage.open(`${listed}/app`);
  await page.frameLocator("iframe").getByRole("link", { name: /\/hook/ }).waitFor();
  assert.equal(await page.evaluate(() => window.asked), 2);
  // In a frame the page has neither breadcrumb nor sign-out, and tells its height.
  assert.equal(await page.frameLocator("iframe").getByText("Integrations").count(), 0);
  assert.equal(await page.frameLocator("iframe").getByRole("button", { name: "Sign out" }).count(), 0);
  await page.waitForFunction(() => window.height > 200);

  // The same application under a name that is not listed: its token is not taken, and no user can sign in. PostgREST sends
  // frame-ancestors, so that the browser shows no page at all; the REST server of the tests sends no headers of the page.
  page = await stage.open(`http://localhost:${stage.embedder}/app`);
  const frame = page.frameLocator("iframe");
  await until("a page that waits, or none", async () =>
    page.frames().some((shown) => shown.url().startsWith("chrome-error:")) || (await frame.getByText("Waiting for the application").count()) > 0);
  assert.equal(await frame.getByLabel("Access token").count(), 0);
  assert.equal(await frame.getByRole("link", { name: /\/hook/ }).count(), 0);

  // The file calls the REST server from where it lies, by itself or in a page of the same site.
  page = await stage.signIn(stage.tokens.dana, `${listed}/file`);
  await page.getByRole("link", { name: /\/hook/ }).click();
  await page.getByRole("button", { name: "Send test" }).click();
  await page.getByText(/Answered 200/).waitFor();
  page = await stage.open(`${listed}/around`);
  await page.frameLocator("iframe").getByRole("link", { name: /\/hook/ }).waitFor();
  server.close();
};
