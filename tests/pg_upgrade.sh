#!/usr/bin/env bash
# A queue goes on when pg_upgrade has moved its database to another major version.
#
# usage: tests/pg_upgrade.sh OLD_PG_CONFIG NEW_PG_CONFIG
# Both servers have the extension (make build leaves them under target/pg<major>/) and are of their latest minor version: a new one may keep in its
# catalogue what an old one of a newer major version does not know.
set -euo pipefail
cd "$(dirname "$0")/.."
old=$("$1" --bindir) new=$("$2" --bindir)
readonly old new queued=200
work=$(mktemp -d "$PWD/target/pg_upgrade.XXXXXX")
receiver_pid=

say() { echo "pg_upgrade: $*"; }

# A server runs as nobody's root.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then (cd "$work" && setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); else (cd "$work" && "$@"); fi
}

clean_up() {
    for data in old new; do
        [ ! -f "$work/$data/postmaster.pid" ] || as_server_user "${!data}/pg_ctl" stop -s -D "$work/$data" -m immediate || true
    done
    [ -z "$receiver_pid" ] || kill "$receiver_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

settings() {
    cat <<END
listen_addresses = ''
unix_socket_directories = '$work'
port = $1
shared_preload_libraries = 'webhook_delivery'
webhook_delivery.databases = '$2'
webhook_delivery.allow_http = on
webhook_delivery.allowed_ports = '1-65535'
webhook_delivery.allowed_networks = '127.0.0.0/8'
END
}

sql() { "$new/psql" -h "$work" -p "$port" -U postgres -d postgres -XqAt -v ON_ERROR_STOP=1 -c "$1"; }

# Waits for a query to give t, half a minute at most.
wait_for() {
    for _ in $(seq 300); do
        [ "$(sql "$2")" = t ] && return
        sleep 0.1
    done
    say "waited in vain for $1"
    sql "select * from webhook_delivery.status" >&2
    exit 1
}

cargo build --quiet -p webhook_delivery_tests --bin webhook-receiver
coproc receiver { exec target/debug/webhook-receiver --listen 127.0.0.1:0; }
receiver_pid=$!
read -r address <&"${receiver[0]}"

[ "$(id -u)" != 0 ] || chown postgres "$work"
say "a database of $("$old/postgres" --version) with $queued deliveries queued"
as_server_user "$old/initdb" -D "$work/old" -U postgres -A trust -E UTF8 --locale=C >"$work/log" 2>&1
settings 5998 '' >>"$work/old/postgresql.conf"
port=5998
as_server_user "$old/pg_ctl" start -s -w -D "$work/old" -l "$work/old.log"
sql "create extension webhook_delivery"
sql "insert into webhook_endpoints (auction_id, url, events) values ('00000000-0000-4000-8000-000000000001', 'http://$address/', '{*}') returning generated_secret(webhook_endpoints)" >"$work/secret"
sql "select webhook_delivery.create_partitions()" >/dev/null
sql "select count(webhook_delivery.emit('submission.created', '00000000-0000-4000-8000-000000000001', json_build_object('n', n))) from generate_series(1, $queued) as n" >/dev/null
before=$(sql "select md5(string_agg(waiting::text || event.data::text, ',' order by waiting.delivery_id)) from webhook_delivery.queue as waiting join webhook_delivery.events as event on event.id = waiting.event_id")
as_server_user "$old/pg_ctl" stop -s -w -D "$work/old" -m fast

say "pg_upgrade to $("$new/postgres" --version)"
checksums=
"$new/initdb" --help | grep -q no-data-checksums && checksums=--no-data-checksums
as_server_user "$new/initdb" -D "$work/new" -U postgres -A trust -E UTF8 --locale=C $checksums >"$work/log" 2>&1
settings 5998 'postgres' >>"$work/new/postgresql.conf"
as_server_user "$new/pg_upgrade" -U postgres -b "$old" -B "$new" -d "$work/old" -D "$work/new" -s "$work" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; grep -rh -A5 ERROR "$work/new/pg_upgrade_output.d" >&2; exit 1; }
as_server_user "$new/pg_ctl" start -s -w -D "$work/new" -l "$work/new.log"
after=$(sql "select md5(string_agg(waiting::text || event.data::text, ',' order by waiting.delivery_id)) from webhook_delivery.queue as waiting join webhook_delivery.events as event on event.id = waiting.event_id")
[ "$before" = "$after" ] || { say "the queue is not what it was"; exit 1; }

wait_for "a worker that takes it for a copy" "select state = 'fenced' from webhook_delivery.status"
say "the worker waits for webhook_delivery.resume(), as for any copy"
sql "select webhook_delivery.resume()" >/dev/null
wait_for "all to be delivered" "select count(*) filter (where status = 'success') = $queued and count(*) = $queued from webhook_deliveries"
# And what happens from now on.
sql "select webhook_delivery.emit('submission.created', '00000000-0000-4000-8000-000000000001', '{}')" >/dev/null
wait_for "what happened afterwards" "select count(*) filter (where status = 'success') = $queued + 1 from webhook_deliveries"
say "all $queued deliveries came after the upgrade, and one that was queued in the new version"
