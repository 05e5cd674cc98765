#!/usr/bin/env bash
# Measures all stores: starts PostgreSQL and Redis for the run, with files of their own that are removed at the end, and
# reached by a socket that nobody else's server can have. What is not installed is left out (Debian: apt-get install
# postgresql redis-server; neither need run). Arguments go to the program.
set -euo pipefail
cd "$(dirname "$0")"

# On a real disk, beside what the other stores write. As root, the user postgres must be able to reach it.
root="${LEDGER_BENCH_DIR:-$PWD/../../target/ledger-benches}"
mkdir -p "$root"
place="$(mktemp -d "$root/servers-XXXXXX")"
# A socket's path may have only 107 bytes.
sockets="$(mktemp -d "${TMPDIR:-/tmp}/peers-XXXXXX")"
chmod 755 "$place" "$sockets"
redis_pid= postgres_bin=
stop() {
    [ -z "$redis_pid" ] || { kill "$redis_pid" && wait "$redis_pid" || true; }
    [ -z "$postgres_bin" ] || as_owner "$postgres_bin/pg_ctl" -D "$place/postgres" -m immediate -w stop >/dev/null || true
    rm -rf "$place" "$sockets"
}
trap stop EXIT

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

if command -v redis-server >/dev/null; then
    mkdir "$place/redis"
    # The log of commands is never rewritten: that would fall into somebody's seconds.
    redis-server --port 0 --unixsocket "$sockets/redis" --dir "$place/redis" --save '' --appendonly yes \
        --appendfsync always --auto-aof-rewrite-percentage 0 --daemonize no --logfile "$place/redis.log" &
    redis_pid=$!
    until redis-cli -s "$sockets/redis" ping >/dev/null 2>&1; do
        kill -0 "$redis_pid"
    done
    export PEER_REDIS="redis+unix://$sockets/redis" PEER_REDIS_DIR="$place/redis"
fi

bin="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)"
bin="${bin:-$(dirname "$(command -v initdb || echo /nowhere/initdb)")}"
if [ -x "$bin/initdb" ]; then
    mkdir "$place/postgres" "$sockets/postgres"
    [ "$(id -u)" != 0 ] || chown postgres "$place/postgres" "$sockets/postgres"
    as_owner "$bin/initdb" -D "$place/postgres" -U peer --auth=trust >/dev/null
    # As it comes, but for the cache, which the other stores have, too.
    as_owner "$bin/pg_ctl" -D "$place/postgres" -l "$place/postgres/log" -w \
        -o "-c listen_addresses= -c unix_socket_directories=$sockets/postgres -c shared_buffers=256MB" start >/dev/null
    postgres_bin="$bin"
    export PEER_POSTGRES="host=$sockets/postgres user=peer dbname=postgres"
fi

cargo run --release --locked -- "$@"
