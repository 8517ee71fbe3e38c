// A receiver for Node.js: verifies each webhook, and ignores repetitions.
//
//     WEBHOOK_SECRET=whsec_... npx tsx receiver.ts
//
// verify.ts is in src/page/verify/: copy it beside this file.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { verifyWebhook } from "./verify.js";

type Event = { event: string; webhook_id: string; data: unknown };

const { WEBHOOK_SECRET: secret = "", PROCESSED: processed = "processed", PORT: port = "9000" } = process.env;

/** Your work. It may take long: then store the event here, and do the work elsewhere. */
function processEvent(event: Event) {
  console.log(event.event, event.data);
}

/** The body of a request; null if it has more than a megabyte. */
async function read(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request) {
    parts.push(part);
    length += part.length;
    if (length > 1_000_000) return null;
  }
  return Buffer.concat(parts).toString();
}

async function receive(request: IncomingMessage, response: ServerResponse) {
  const body = await read(request);
  if (body === null) {
    response.writeHead(413).end();
    return;
  }
  let event: Event;
  try {
    event = verifyWebhook(secret, request.headers as Record<string, string>, body) as Event;
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
}

if (!secret) throw new Error("WEBHOOK_SECRET is not set");
mkdirSync(processed, { recursive: true });
createServer((request, response) => {
  receive(request, response).catch((problem) => {
    console.error(problem);
    response.writeHead(500).end();
  });
}).listen(Number(port), "127.0.0.1");
