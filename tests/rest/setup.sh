#!/usr/bin/env bash
# Builds the REST server that the tests take.
#
# Compiles webhook-rest, unless POSTGREST names a PostgREST.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${POSTGREST:-}" ]; then
    echo "rest: building the REST server (the first time takes two minutes)"
    cargo build --quiet -p webhook_rest
fi
