// Runs a scenario of an administrator in a browser; ends with an error where it does not hold.
// usage: node run.cjs SCENARIO, with what the test has set up as JSON in STAGE
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { Stage } = require("./stage.cjs");
const { launch } = require("./browser.cjs");

async function main(scenario) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "webhook-page-"));
  const browser = await launch(profile);
  const stage = new Stage(JSON.parse(process.env.STAGE), browser);
  try {
    await require(`./${scenario}.cjs`)(stage);
    stage.assertClean();
  } catch (problem) {
    await stage.picture(`failed-${scenario}`).catch(() => {});
    throw problem;
  } finally {
    await browser.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}

// At once, whatever a scenario has left open.
main(process.argv[2]).then(
  () => process.exit(0),
  (problem) => {
    console.error(problem);
    process.exit(1);
  },
);
