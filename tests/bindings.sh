#!/bin/sh
# Compiles the extension for a server whose headers are not installed.
#
# rustc, for which cargo takes this, uses for pgrx the bindings that it brings for its documentation instead of making them from headers.
# usage: RUSTC_WRAPPER=tests/bindings.sh DOCS_RS=1 RUSTC_BOOTSTRAP=1 cargo …
rustc=$1
shift
case " $* " in
*" --crate-name pgrx_pg_sys "*) exec "$rustc" "$@" --cfg docsrs ;;
esac
exec "$rustc" "$@"
