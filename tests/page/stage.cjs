// What a scenario has at hand.
"use strict";

const assert = require("node:assert/strict");
const { spawn, spawnSync } = require("node:child_process");
const path = require("node:path");

const DEADLINE = 20_000;

/** The page, the database behind it, and the receiver to which it leads. */
class Stage {
  /** `given`: `rest`, `receiver`, `tokens`, `auctions`, `psql`, `folder` as the test has them. */
  constructor(given, browser) {
    Object.assign(this, given);
    this.browser = browser;
    this.faults = [];
    this.url = `${this.rest}/rpc/webhook_admin`;
  }

  /** A new tab, in which whatever a page ought not to do is noted. */
  async open(url = this.url) {
    const page = await this.browser.newPage();
    page.setDefaultTimeout(DEADLINE);
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => console.error(`violates ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
    });
    page.on("console", (message) => message.type() === "error" && this.note(message.text()));
    page.on("pageerror", (error) => this.note(String(error)));
    page.on("dialog", (dialog) => (this.note(`dialog ${dialog.message()}`), dialog.dismiss()));
    this.page = page;
    await page.goto(url);
    return page;
  }

  /** A browser says in its console, too, that a server has refused something: that is asked for. */
  note(fault) {
    if (!/Failed to load resource: the server responded with a status of 4/.test(fault)) this.faults.push(fault);
  }

  /** The page as somebody sees it who has typed his token. */
  async signIn(token = this.tokens.dana, url = this.url) {
    const page = await this.open(url);
    await page.getByLabel("Access token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    return page;
  }

  /** What a query gives, as text, asked as superuser. */
  sql(query) {
    const { program, host, user } = this.psql;
    const done = spawnSync(program, ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", host, "-U", user, "-d", "postgres", "-c", query], { encoding: "utf8" });
    assert.equal(done.status, 0, `${query}\n${done.stderr}`);
    return done.stdout.trim();
  }

  /** Has a transaction of somebody else's hold what this statement locks; gives back what ends it. */
  async hold(statement) {
    const { program, host, user } = this.psql;
    const other = spawn(program, ["-X", "-q", "-A", "-t", "-h", host, "-U", user, "-d", "postgres"]);
    const holds = new Promise((resolve) => other.stdout.on("data", (text) => String(text).includes("held") && resolve()));
    other.stdin.write(`begin; ${statement}; select 'held';\n`);
    await holds;
    return () => new Promise((resolve) => (other.on("close", resolve), other.stdin.end("commit;\n")));
  }

  /** Creates an endpoint without the page; gives back its id. */
  endpoint(url, events = ["*"], auction_id = this.auctions.riverside) {
    const list = events.map((event) => `'${event}'`).join(", ");
    return this.sql(`insert into webhook_endpoints (auction_id, url, events) values ('${auction_id}', '${url}', array[${list}]) returning id`);
  }

  /** An event of Riverside's. */
  emit(data = "{}", count = 1, event_type = "submission.created") {
    this.sql(`select webhook_delivery.emit('${event_type}', '${this.auctions.riverside}', '${data}') from generate_series(1, ${count})`);
  }

  /** Until nothing is left to be sent. */
  async settle() {
    await until("an empty queue", () => this.sql("select count(*) from webhook_delivery.queue") === "0");
  }

  /** Makes the receiver answer `/switch` so. */
  async switchTo(status) {
    await fetch(`${this.receiver}/become/${status}`, { method: "POST" });
  }

  /** Saves what is to be seen. */
  async picture(name, options = {}) {
    await this.page.screenshot({ path: path.join(this.folder, `${name}.png`), animations: "disabled", ...options });
  }

  /** Fails where a page has done what it ought not to. */
  assertClean() {
    assert.deepEqual(this.faults, []);
  }
}

/** Waits until `holds` gives something true. */
async function until(what, holds, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  for (;;) {
    const found = await holds();
    if (found) return found;
    assert.ok(Date.now() < end, `waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

module.exports = { Stage, until, DEADLINE };
