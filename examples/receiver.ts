// A receiver for Node.js: verifies each webhook, and processes it once.
//
//     WEBHOOK_SECRET=whsec_... npx tsx receiver.ts
//
// verify.ts is in src/page/verify/: copy it beside this file.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { verifyWebhook } from "./verify.js";

type Event = { event: string; webhook_id: string; data: unknown };

const { WEBHOOK_SECRET: secret = "", PROCESSED: processed = "processed", PORT: port = "9000" } = process.env;

/** Your work. It may take long: then store the event here, and do the work elsewhere. */
function processEvent(event: Event) {
  console.log(event.event, event.data);
}

mkdirSync(processed, { recursive: true });
createServer(async (request, response) => {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  let event: Event;
  try {
    event = verifyWebhook(secret, request.headers as Record<string, string>, Buffer.concat(parts).toString()) as Event;
  } catch (problem) {
    response.writeHead(401).end(String(problem));
    return;
  }
  // A webhook can come again. With a database, insert its id into a table with a unique key, in the transaction that does the
  // work.
  const mark = join(processed, event.webhook_id);
  if (!existsSync(mark)) {
    processEvent(event);
    writeFileSync(mark, "");
  }
  response.writeHead(204).end();
}).listen(Number(port), "127.0.0.1");
