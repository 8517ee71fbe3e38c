#!/usr/bin/env bash
# Runs tests, after make build: all, or those of some files or folders of tests/, or those whose name contains a text.
# usage: tests/run.sh "capture worker" part_of_a_name; both may be empty. TEST_THREADS is the number of tests at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly only=${1:-} name=${2:-}
options=(${name:+"$name" --include-ignored} --test-threads="${TEST_THREADS:-2}")

# Tests that need what not every machine has are ignored, in modules of these names, and run here if the machine has it.
needs=()
modules_of_server=$(target/server/bin/pg_config --pkglibdir)
if [[ $(ls "$modules_of_server"/{dblink,pg_stat_statements,postgres_fdw,test_decoding}.so 2>/dev/null | wc -l) == 4 ]]; then
    needs+=(needs_contrib::)
fi
if [[ -e $modules_of_server/citus.so ]]; then
    needs+=(needs_citus::)
fi
if command -v go >/dev/null; then
    needs+=(needs_go::)
fi
if command -v tinyproxy >/dev/null; then
    needs+=(needs_proxy::)
fi

status=0
# run PACKAGE_OPTIONS... -- FILTERS...
run() {
    local packages=() needed=() module need
    while [[ $1 != -- ]]; do packages+=("$1"); shift; done
    shift
    cargo test --no-fail-fast "${packages[@]}" -- "$@" "${options[@]}" || status=$?
    [[ -z $name ]] || return 0
    for module in "${@:-}"; do
        for need in "${needs[@]}"; do needed+=("$module$need"); done
    done
    [[ ${#needed[@]} == 0 ]] || cargo test --quiet --no-fail-fast "${packages[@]}" -- --ignored "${needed[@]}" "${options[@]}" || status=$?
}

if [[ -z $only ]]; then
    run -p webhook_sender -p webhook_delivery_tests --
    exit "$status"
fi

shopt -s nullglob
programs=() folders=() modules=()
for one in $only; do
    files=(tests/*/"$one".rs tests/*/"$one"/mod.rs tests/*/*/"$one".rs)
    if [[ -f tests/$one/main.rs ]]; then
        programs+=(--test "$one")
    elif [[ ${#files[@]} != 0 ]]; then
        folders+=(--test "$(cut -d / -f 2 <<<"${files[0]}")")
        modules+=("$one::")
    else
        echo "there is no tests/*/$one.rs, and no folder tests/$one with tests" >&2
        exit 2
    fi
done

if [[ ${#programs[@]} != 0 ]]; then
    run "${programs[@]}" -p webhook_delivery_tests --
fi
if [[ ${#folders[@]} != 0 ]]; then
    # A test runs if its name contains one of these: so with a name, those of other files in the folder run too.
    [[ -z $name ]] || modules=()
    run "${folders[@]}" -p webhook_delivery_tests -- "${modules[@]}"
fi
exit "$status"
