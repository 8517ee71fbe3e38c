#!/usr/bin/env bash
# Which REST server and which client do the tests take?
#
# Makes, under target/: the REST server webhook-rest, unless POSTGREST names a PostgREST; node/ with supabase-js' client.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${POSTGREST:-}" ]; then
    echo "rest: compiling the REST server (the first time takes two minutes)"
    cargo build --quiet -p webhook_rest
fi
mkdir -p target/node
if ! cmp -s tests/rest/package-lock.json target/node/package-lock.json || [ ! -d target/node/node_modules ]; then
    echo "rest: installing supabase-js' client"
    cp tests/rest/package.json tests/rest/package-lock.json target/node/
    npm ci --prefix target/node --silent --no-fund --no-audit
fi
