// Prints the TypeScript types of the schema public, as `supabase gen types` makes them.
// usage: PGHOST=... PGPORT=... PGUSER=... node types.cjs, with the packages in NODE_PATH
"use strict";

const path = require("node:path");
const { Client } = require("pg");

async function main() {
  // An ES module, which NODE_PATH is not for.
  const { generateTypescript, introspect, sortGeneratorMetadata } =
    await import(path.join(process.env.NODE_PATH, "@supabase/postgrest-typegen/dist/index.js"));
  const client = new Client();
  await client.connect();
  const metadata = await introspect(client, { includedSchemas: ["public"] });
  console.log(await generateTypescript(sortGeneratorMetadata(metadata), { postgrestVersion: "12" }));
  await client.end();
}

main();
