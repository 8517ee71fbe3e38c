#!/usr/bin/env bash
# Checks what needs no server: format, words, dependencies between folders, lints, and the tests of the sender and the page's texts.
# usage: tests/check.sh, after tests/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source target/env

step() { echo "check: $*"; }

step "format"
cargo fmt --all --check

step "words"
# Names that were replaced by the field's words do not come back.
if git grep -nwiE 'intake|ledger|upkeep|lanes?|bells?|equipment|telling|ringer|resting|homes|move_in|note_change|note_move|watched_changes|needed_tables|note_health|emit_for|capture_again|webhook_diagnose|page_embedders' -- src sql tests docs '*.md' ':!src/page/vendor' ':!tests/check.sh'; then
    exit 1
fi

step "dependencies between folders"
if git grep -nE 'crate::(access|capture|delivery|endpoint|history|page)\b' -- src/postgres; then
    exit 1
fi

step "lints"
cargo clippy --quiet --workspace --all-targets --no-default-features --features "webhook_delivery/pg$pg_major" -- -D warnings

step "the page's texts"
node tests/page/check-texts.cjs

step "the sender's tests"
cargo test --quiet -p webhook_sender
