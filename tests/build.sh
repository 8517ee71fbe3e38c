#!/usr/bin/env bash
# Builds the extension, and installs it into the private server under target/ and into an existing one.
#
# usage: tests/build.sh            compiles it and installs it into the private server
#        tests/build.sh install    the same, then into the server whose pg_config `tests/setup.sh` was given
#        tests/build.sh package    the same, and puts its files into target/package/
#        tests/build.sh deb        the same, and makes a Debian package of them, target/postgresql-<major>-webhook-delivery_<version>_<architecture>.deb,
#                                  with DEBFULLNAME and DEBEMAIL as its maintainer
set -euo pipefail
cd "$(dirname "$0")/.."
source target/env
readonly package=$PWD/target/extension/package files=$PWD/target/package

say() { echo "build: $*"; }

# Shows how far cargo is: on one line of a terminal, and every fifty crates elsewhere.
count_crates() {
    local line crates=0
    while read -r line; do
        [[ $line == Compiling* ]] || continue
        crates=$((crates + 1))
        if [ -t 1 ]; then
            printf '\rbuild: %d crates compiled' "$crates"
        elif [ $((crates % 50)) = 0 ]; then
            say "$crates crates compiled"
        fi
    done
    [ "$crates" = 0 ] || [ ! -t 1 ] || echo
}

compile() {
    say "compiling the extension for PostgreSQL $pg_major (the first time takes some minutes)"
    # Only this compilation's files: another major's would be found by the same names.
    rm -rf "$package"
    local bindings=()
    if [ -n "${WITHOUT_HEADERS:-}" ]; then
        bindings=(RUSTC_WRAPPER="$PWD/tests/bindings.sh" DOCS_RS=1 RUSTC_BOOTSTRAP=1)
    fi
    # A target folder of its own: cargo-pgrx compiles with other flags than cargo does, and the two would undo each other's work.
    env CARGO_TARGET_DIR="$PWD/target/extension" "${bindings[@]}" "$cargo_pgrx" pgrx package --package webhook_delivery \
        --pg-config "$private_pg_config" --no-default-features --features "pg$pg_major" --out-dir "$package" 2>&1 |
        tee target/build.log | count_crates || {
        cat target/build.log >&2
        exit 1
    }
}

# The library, the control file and the scripts, and nothing else, in one folder.
collect() {
    rm -rf "$files"
    mkdir -p "$files"
    find "$package" -type f \( -name webhook_delivery.so -o -name webhook_delivery.control -o -name 'webhook_delivery--*.sql' \) \
        -exec cp {} "$files/" \;
}

# Nothing is written over: install(1) makes a new file, because a running server that has the old library open would crash if its bytes changed.
# usage: install_into LIBRARIES SHARE
install_into() {
    local as_root=()
    [ -w "$1" ] && [ -w "$2/extension" ] || as_root=(sudo)
    "${as_root[@]}" install -m 755 "$files/webhook_delivery.so" "$1/"
    "${as_root[@]}" install -m 644 "$files"/*.control "$files"/*.sql "$2/extension/"
    say "installed into $1 and $2/extension"
}

make_deb() {
    local name=postgresql-$pg_major-webhook-delivery version architecture root libraries share
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    architecture=$(dpkg --print-architecture)
    root=$PWD/target/deb
    libraries=$("$given_pg_config" --pkglibdir) share=$("$given_pg_config" --sharedir)
    rm -rf "$root"
    mkdir -p "$root/DEBIAN" "$root$libraries" "$root$share/extension" "$root/usr/share/doc/$name"
    install_into "$root$libraries" "$root$share"
    strip --strip-unneeded "$root$libraries/webhook_delivery.so"
    install -m 644 README.md "$root/usr/share/doc/$name/"
    install -m 644 LICENSE "$root/usr/share/doc/$name/copyright"
    # The licences of what the page brings ask to go along.
    cat - src/page/vendor/LICENSE.preact src/page/vendor/LICENSE.pico >>"$root/usr/share/doc/$name/copyright" <<END

It contains htm, under the Apache License 2.0 (/usr/share/common-licenses/Apache-2.0), Preact and Pico CSS:

END
    install -m 644 CHANGELOG.md "$root/usr/share/doc/$name/"
    cat >"$root/DEBIAN/control" <<END
Package: $name
Version: $version
Architecture: $architecture
Section: database
Priority: optional
Maintainer: ${DEBFULLNAME:-the webhook_delivery authors} <${DEBEMAIL:-webhook-delivery@localhost}>
Depends: postgresql-$pg_major, $(needed_packages "$root$libraries/webhook_delivery.so")
Description: signed webhooks from committed row changes
 Events are queued in the transaction that causes them, and delivered with
 retries by a background worker of PostgreSQL $pg_major. The history is there, too.
END
    dpkg-deb --root-owner-group --build "$root" "target/${name}_${version}_$architecture.deb" >/dev/null
    say "made target/${name}_${version}_$architecture.deb"
}

# The packages that a library's own libraries are in, as dpkg-shlibdeps knows them, with their versions.
needed_packages() {
    local folder
    folder=$(mktemp -d)
    mkdir "$folder/debian"
    printf 'Source: webhook-delivery\n\nPackage: webhook-delivery\nArchitecture: any\n' >"$folder/debian/control"
    (cd "$folder" && dpkg-shlibdeps -O "$1" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
    rm -rf "$folder"
}

compile
collect
install_into "$("$private_pg_config" --pkglibdir)" "$("$private_pg_config" --sharedir)"
case ${1:-} in
install)
    install_into "$("$given_pg_config" --pkglibdir)" "$("$given_pg_config" --sharedir)"
    say "now add to that server's postgresql.conf and restart it: shared_preload_libraries = 'webhook_delivery'"
    ;;
package) say "the files are in target/package" ;;
deb) make_deb ;;
esac
