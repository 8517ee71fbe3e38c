#!/usr/bin/env bash
# Checks and installs what the extension needs to be built.
#
# Installs what is missing where it may, and otherwise says which package to install. Makes, all under target/:
#   pg<major>/  a copy of the PostgreSQL installation, into which alone the extension is installed
#   server      a link to the copy in use
#   pgrx/       PGRX_HOME
#   tools/      cargo-pgrx, when the user's own is another version
#   env         the paths of all these, for the scripts
# usage: tests/setup.sh [pg_config [build]]; with build, what only the tests and the demo need may be missing
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pg_config=${1:-pg_config} purpose=${2:-all}
readonly pgrx_version=0.18.1
readonly target=$PWD/target

say() { echo "setup: $*"; }
stop() {
    echo "setup: $*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, or fails without asking anybody for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }
}

# The server, its headers, its loadable modules' folder: not just the pg_config that libpq's package brings.
has_server() {
    has "$pg_config" && [ -x "$("$pg_config" --bindir)/postgres" ] &&
        { [ -n "${WITHOUT_HEADERS:-}" ] || [ -e "$("$pg_config" --includedir-server)/postgres.h" ]; }
}

# bindgen loads libclang; without it the bindings to the server's headers cannot be made.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2>/dev/null | grep -q 'libclang-\?[0-9.]*\.so' ||
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

# The major version that this distribution packages.
packaged_major() {
    apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]\+\)$/\1/p' | head -n 1
}

# One package a line.
missing_packages() {
    if ! has_server; then
        local major
        major=$(packaged_major)
        printf '%s\n' "postgresql-${major:-<major>}" "postgresql-server-dev-${major:-<major>}"
    fi
    has clang || echo clang
    has_libclang || echo libclang-dev
    # The linker, and what compiles the dependencies written in C and the clock of a test.
    has cc || printf '%s\n' gcc libc6-dev
    [ "$purpose" != build ] || return 0
    # Shows the page in the tests.
    [ -n "${CHROMIUM:-}" ] || has chromium || has google-chrome || echo chromium
    # Runs supabase-js in the tests, and drives the browser.
    has npm || printf '%s\n' nodejs npm
    # Verifies the signatures in the tests and the demo.
    has python3 || echo python3
    # Brings the metrics' exporter, which the tests run.
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} -gt 0 ] || return 0
    if ! has_server && [ "$pg_config" != pg_config ]; then
        stop "$pg_config is not the pg_config of a PostgreSQL server with its headers"
    fi
    may_install || stop "please install these packages, then try again: ${packages[*]}"
    say "reading the package lists"
    as_root apt-get update -qq
    # Once more: which PostgreSQL there is may only be known now.
    mapfile -t packages < <(missing_packages)
    say "installing ${packages[*]}"
    # Debian's server package starts a server of its own on port 5432 when it is the first on the machine. It is left alone: keeping it from
    # starting would mean writing to /etc, and nothing here uses it.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$target/apt.log" 2>&1 ||
        stop "the packages could not be installed: see target/apt.log"
    has_server || stop "$pg_config has no server with headers; give another with PG_CONFIG="
}

install_cargo_pgrx() {
    has cargo || stop "Rust is missing: https://rustup.rs"
    if [ "$(cargo-pgrx pgrx --version 2>/dev/null)" = "cargo-pgrx $pgrx_version" ]; then
        cargo_pgrx=$(command -v cargo-pgrx)
        return
    fi
    # Not over the user's own: another project may need that version.
    cargo_pgrx=$target/tools/bin/cargo-pgrx
    [ "$("$cargo_pgrx" pgrx --version 2>/dev/null)" = "cargo-pgrx $pgrx_version" ] && return
    say "installing cargo-pgrx $pgrx_version into target/tools (about 2 minutes, once)"
    # Optimized, it would take twice as long to compile and build nothing faster.
    cargo install --quiet --debug cargo-pgrx --version "=$pgrx_version" --locked --root "$target/tools" \
        --target-dir "$target/tools/build"
    rm -rf "$target/tools/build"
}

# The longest path that all the arguments begin with, cut at a slash.
common_folder() {
    local common=$1 path
    for path in "$@"; do
        while [ "${path#"$common"/}" = "$path" ]; do
            common=${common%/*}
        done
    done
    echo "$common"
}

# Copies the installation so that every folder keeps its place relative to the others: PostgreSQL finds its files from where its program is.
copy_server() {
    local bin lib share headers root copy version
    bin=$("$pg_config" --bindir) lib=$("$pg_config" --pkglibdir) share=$("$pg_config" --sharedir)
    headers=$("$pg_config" --includedir-server) version=$("$pg_config" --version)
    major=$(sed 's/[^0-9]*\([0-9]*\).*/\1/' <<<"$version")
    case $major in
    15 | 16 | 17 | 18) ;;
    *) stop "$version is not supported: 15 to 18 are. Give another with PG_CONFIG=" ;;
    esac
    root=$(common_folder "$bin/" "$lib/" "$share/" "$headers/")
    copy=$target/pg$major
    server=$copy${bin#"$root"}
    server=${server%/bin}
    if [ "$(cat "$copy/source" 2>/dev/null)" != "$version $bin" ]; then
        say "copying $version from $root to target/pg$major"
        rm -rf "$copy"
        local folder
        for folder in "$bin" "$lib" "$share"; do
            mkdir -p "$copy${folder#"$root"}"
            cp -a "$folder/." "$copy${folder#"$root"}/"
        done
        # Only read, so a link is enough.
        mkdir -p "$(dirname "$copy${headers#"$root"}")"
        ln -sfn "$headers" "$copy${headers#"$root"}"
        [ "$("$server/bin/pg_config" --pkglibdir)" = "$copy${lib#"$root"}" ] ||
            stop "$version cannot be copied: it does not find its folders from where its program is"
        # Written last: a copy that was interrupted is made again.
        echo "$version $bin" >"$copy/source"
    fi
    ln -sfn "$server" "$target/server"
}

# Writes standard input to a file, unless that is what it already holds: the bindings are compiled anew when pgrx's configuration looks newer.
write_if_changed() {
    local text
    text=$(cat)
    [ "$text" = "$(cat "$1" 2>/dev/null)" ] || echo "$text" >"$1"
}

write_environment() {
    mkdir -p "$target/pgrx"
    write_if_changed "$target/pgrx/config.toml" <<END
[configs]
pg$major = "$server/bin/pg_config"
END
    write_if_changed "$target/env" <<END
export PGRX_HOME=$(printf %q "$target/pgrx")
readonly pg_major=$major cargo_pgrx=$(printf %q "$cargo_pgrx")
readonly private_pg_config=$(printf %q "$server/bin/pg_config") given_pg_config=$(printf %q "$(command -v "$pg_config")")
END
}

mkdir -p "$target"
# Two builds at once would copy over each other.
exec 9>"$target/setup.lock"
flock 9
install_packages
install_cargo_pgrx
copy_server
write_environment
say "ready: $("$server/bin/postgres" --version), cargo-pgrx $pgrx_version"
