// The browser that shows the page.
"use strict";

const { execFileSync } = require("node:child_process");
const { chromium } = require("playwright-core");

/** What `CHROMIUM` names, or the system's. */
function program() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "google-chrome"]) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Perhaps the next.
    }
  }
  throw new Error("there is no Chromium: install it, or set CHROMIUM=/path/to/chromium");
}

/** With a profile of its own, and without anything that a browser asks of its maker. */
exports.launch = (profile) =>
  chromium.launchPersistentContext(profile, {
    executablePath: program(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    viewport: { width: 1100, height: 900 },
    locale: "en-GB",
    timezoneId: "UTC",
    permissions: ["clipboard-read", "clipboard-write"],
  });
