// The code that the page offers to receivers' authors is right: each verifies what arrives, and refuses what was changed.
"use strict";

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const typescript = require("typescript");

/** A receiver that keeps what arrives as it is. */
async function receiver() {
  const requests = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part)).on("end", () => {
      requests.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, requests, url: `http://127.0.0.1:${server.address().port}/hook` };
}

const JUDGES = {
  TypeScript: (code, folder) => {
    const checked = typescript.transpileModule(code, { reportDiagnostics: true, compilerOptions: { module: "commonjs", target: "es2022" } });
    assert.deepEqual(checked.diagnostics, []);
    fs.writeFileSync(path.join(folder, "verify.cjs"), checked.outputText);
    const { verifyWebhook } = require(path.join(folder, "verify.cjs"));
    return (secret, { headers, body }) => {
      try {
        return verifyWebhook(secret, headers, body).event;
      } catch (error) {
        return error.message;
      }
    };
  },
  Python: (code, folder) => {
    fs.writeFileSync(path.join(folder, "verify.py"), code);
    const program = "import json, sys\nfrom verify import verify_webhook\ns, h, b = json.load(sys.stdin)\ntry: print(verify_webhook(s, h, b.encode())['event'])\nexcept ValueError as e: print(e)";
    return (secret, { headers, body }) => spawnSync("python3", ["-c", program], { cwd: folder, input: JSON.stringify([secret, headers, body]), encoding: "utf8" }).stdout.trim();
  },
  // Where there is a Go, which a test does not install.
  Go: (code, folder) => {
    if (spawnSync("go", ["version"]).status !== 0) return null;
    const main = `package main\nimport ("encoding/json"; "fmt"; "net/http"; "os"; "webhook/webhook")\nfunc main() {\n var in struct { Secret, Body string; Headers map[string]string }\n json.NewDecoder(os.Stdin).Decode(&in)\n header := http.Header{}\n for k, v := range in.Headers { header.Set(k, v) }\n if err := webhook.Verify(in.Secret, header, []byte(in.Body)); err != nil { fmt.Println(err); return }\n fmt.Println(header.Get("x-webhook-event"))\n}\n`;
    fs.mkdirSync(path.join(folder, "webhook"));
    fs.writeFileSync(path.join(folder, "webhook/verify.go"), code);
    fs.writeFileSync(path.join(folder, "main.go"), main);
    fs.writeFileSync(path.join(folder, "go.mod"), "module webhook\n\ngo 1.19\n");
    return (secret, { headers, body }) => {
      const done = spawnSync("go", ["run", "."], { cwd: folder, input: JSON.stringify({ secret, body, headers }), encoding: "utf8", env: { ...process.env, GOFLAGS: "-mod=mod", GOTOOLCHAIN: "local" } });
      return done.stdout.trim() || done.stderr;
    };
  },
};

module.exports = async (stage) => {
  const { server, requests, url } = await receiver();
  const generated = stage.endpoint(url);
  stage.sql(`insert into webhook_endpoints (auction_id, url, events, secret) values ('${stage.auctions.riverside}', '${url}', '{*}', 'a secret of their own')`);
  stage.emit('{"name": "Ælfrēd"}');
  await stage.settle();
  const secrets = stage.sql("select secret from webhook_delivery.endpoint_secrets").split("\n");
  const isOf = ({ headers }) => stage.sql(`select secret from webhook_delivery.endpoint_secrets join webhook_deliveries using (endpoint_id) where id = '${headers["webhook-id"]}'`);
  assert.equal(requests.length, 2);

  const page = await stage.signIn(stage.tokens.dana, `${stage.url}#/endpoints/${generated}/verify`);
  for (const [language, prepare] of Object.entries(JUDGES)) {
    await page.getByRole("button", { name: language }).click();
    await page.getByRole("button", { name: "Copy code" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    const code = await page.evaluate(() => navigator.clipboard.readText());
    await page.getByRole("button", { name: "Copy code" }).waitFor();
    const folder = fs.mkdtempSync(path.join(stage.folder, "verify-"));
    const judge = prepare(code, folder);
    for (const request of judge ? requests : []) {
      const secret = isOf(request);
      assert.equal(judge(secret, request), "submission.created", language);
      assert.equal(judge(secret, { ...request, body: request.body + " " }), "the signature is wrong", language);
      assert.equal(judge(secrets.find((other) => other !== secret), request), "the signature is wrong", language);
      const old = { ...request.headers, "webhook-timestamp": String(Math.floor(Date.now() / 1000) - 400) };
      assert.equal(judge(secret, { ...request, headers: old }), "the webhook is too old", language);
      assert.equal(judge(secret, { ...request, headers: {} }), "the webhook is too old", language);
    }
    fs.rmSync(folder, { recursive: true });
  }
  server.close();
};
