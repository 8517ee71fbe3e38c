// By keyboard alone, on a phone, in light and dark, and as a screen reader takes it.
"use strict";

const assert = require("node:assert/strict");
const axe = require("axe-core");

/** What a checker of the Web Content Accessibility Guidelines finds wrong. */
async function judge(page, what) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html, any }) => [html, ...any.map(({ message }) => message)]).slice(0, 3)]), [], what);
}

module.exports = async (stage) => {
  await stage.switchTo(500);
  const page = await stage.signIn();
  await page.getByText("No endpoints yet.").waitFor();

  // Nothing but keys, from the first page to the answer of a test.
  const reach = async (what, key = "Enter") => {
    for (let presses = 0; presses < 80; presses += 1) {
      if (await what.evaluate((element) => element === document.activeElement)) return page.keyboard.press(key);
      await page.keyboard.press("Tab");
    }
    assert.fail(`${what} is not reached`);
  };
  await reach(page.getByRole("button", { name: "Add endpoint" }));
  const url = page.getByRole("textbox", { name: "URL" });
  await url.waitFor();
  await reach(url, "Shift");
  await page.keyboard.type(`${stage.receiver}/hook`);
  await page.getByText("Can be used.").waitFor();
  await reach(page.getByText("submission 0 of 2"));
  await reach(page.getByRole("checkbox", { name: "submission.created" }), "Space");
  await page.getByText("submission 1 of 2").waitFor();
  await reach(page.getByRole("button", { name: "Create endpoint" }));
  await page.getByRole("heading", { name: "Now test it" }).waitFor();
  await reach(page.getByRole("button", { name: "Send test" }));
  await page.getByText(/Answered 200/).waitFor();
  await reach(page.getByRole("button", { name: "Delete", exact: true }));
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });

  const failing = stage.endpoint(`${stage.receiver}/switch`);
  stage.emit();
  await page.getByRole("link", { name: "Endpoints", exact: true }).click();
  await page.getByText("Retrying", { exact: true }).first().waitFor();
  const id = stage.sql("select id from webhook_endpoints where url like '%hook'");
  const views = ["", "new", "history", "events", `endpoints/${id}`, `endpoints/${failing}`, `endpoints/${failing}/history`, `endpoints/${failing}/trouble`, `endpoints/${id}/verify`];
  for (const [scheme, width] of [["light", 1100], ["dark", 1100], ["light", 360], ["dark", 360]]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height: 800 });
    for (const view of views) {
      await page.evaluate((view) => (location.hash = `#/${view}`), view);
      await page.getByRole("main").locator("h1, table, form, .checks, pre").first().waitFor();
      await page.waitForFunction(() => !document.querySelector('main [role="status"][aria-busy="true"]'));
      if (view.endsWith("history")) await page.getByRole("row", { name: /submission\.created/ }).first().getByRole("button").click();
      await judge(page, `${view} in ${scheme} at ${width}`);
      const overhang = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overhang <= 0, `${view} at ${width} hangs over by ${overhang}`);
      if (width === 360 && view.startsWith("history")) await stage.picture(`phone-${scheme}`);
    }
  }
};
