#!/usr/bin/env bash
# Installs the packages that the tests run in Node.js, under target/node/.
set -euo pipefail
cd "$(dirname "$0")/../.."

mkdir -p target/node
if ! cmp -s tests/node/package-lock.json target/node/package-lock.json || [ ! -d target/node/node_modules ]; then
    echo "node: installing supabase-js' client and what drives a browser"
    cp tests/node/package.json tests/node/package-lock.json target/node/
    npm ci --prefix target/node --silent --no-fund --no-audit
fi
