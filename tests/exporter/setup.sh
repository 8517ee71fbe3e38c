#!/usr/bin/env bash
# Installs the Prometheus exporter that the tests run, under target/exporter/.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly target=target/exporter

if ! cmp -s tests/exporter/requirements.txt "$target/requirements.txt"; then
    echo "exporter: installing query-exporter"
    rm -rf "$target"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target "$target" \
        --requirement tests/exporter/requirements.txt 2>target/exporter.log || { cat target/exporter.log >&2; exit 1; }
    cp tests/exporter/requirements.txt "$target/"
fi
