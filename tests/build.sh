#!/usr/bin/env bash
# How does the extension get into the private server under target/, and into an existing one?
#
# usage: tests/build.sh            compiles it and installs it into the private server
#        tests/build.sh install    the same, then into the server whose pg_config `tests/setup.sh` was given
set -euo pipefail
cd "$(dirname "$0")/.."
source target/env
readonly package=$PWD/target/extension/package

say() { echo "build: $*"; }

compile() {
    say "compiling the extension for PostgreSQL $pg_major (the first time takes some minutes)"
    # Only this compilation's files: another major's would be found by the same names.
    rm -rf "$package"
    # A target folder of its own: cargo-pgrx compiles with other flags than cargo does, and the two would undo each other's work.
    CARGO_TARGET_DIR=$PWD/target/extension "$cargo_pgrx" pgrx package --package webhook_delivery \
        --pg-config "$private_pg_config" --no-default-features --features "pg$pg_major" --out-dir "$package" 2>&1 |
        tee target/build.log | { grep --line-buffered -E '^ *(Compiling|Finished)' || true; } || {
        cat target/build.log >&2
        exit 1
    }
}

# Copies what was compiled into a server. Nothing is written over: install(1) makes a new file, because a running server that has the old library
# open would crash if its bytes changed.
install_into() {
    local library extension
    library=$("$1" --pkglibdir) extension=$("$1" --sharedir)/extension
    local as_root=()
    [ -w "$library" ] && [ -w "$extension" ] || as_root=(sudo)
    "${as_root[@]}" install -m 755 "$(find "$package" -name webhook_delivery.so)" "$library/"
    "${as_root[@]}" install -m 644 $(find "$package" -name 'webhook_delivery*.control' -o -name 'webhook_delivery--*.sql') "$extension/"
    say "installed into $library and $extension"
}

compile
install_into "$private_pg_config"
if [ "${1:-}" = install ]; then
    install_into "$given_pg_config"
    say "now add to that server's postgresql.conf and restart it: shared_preload_libraries = 'webhook_delivery'"
fi
