#!/usr/bin/env bash
# A PostgreSQL server for tests: `postgres.sh start [--owner PID] [--port PORT --cert FILE --key FILE]`, `stop HOME`,
# `restart HOME`, `kill HOME`.
#
# It installs nothing. `start` makes a cluster in a new folder, starts a server that only this user (and root) can
# reach, through a Unix socket of its own, and prints where it is, fit for `eval`:
#
#     export CLAUDEMESH_TEST_DATABASE_URL=postgres://claudemesh@%2F…/postgres
#     export CLAUDEMESH_TEST_POSTGRES=/…          the folder, which `stop` takes and removes
#
# Servers that are started while the second is set live inside that folder, and are stopped with it.
#
# With --owner the server goes when that process is gone, however it ended. With --port it listens on 127.0.0.1 too, for TLS with that certificate and nothing else. The server is never
# root's, since it refuses that; nothing is synced, since nothing in it is worth keeping.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

readonly WAIT_SECONDS=60
# A cluster of a run stays well below half of this.
readonly MEMORY_KIB=2097152

die() {
  printf 'postgres: %s\n' "$1" >&2
  exit 1
}

# Debian keeps the server's programs off PATH, a folder for each version: the newest is taken.
find_programs() {
  local folder
  programs=$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")
  [ -x "$programs/initdb" ] && return
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V); do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && programs=$folder
  done
  [ -x "$programs/initdb" ] || die "there is no PostgreSQL server here (initdb, postgres); type: scripts/setup.sh test"
}

# Who the server runs as: this user, or for root somebody with less.
as_server() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
    return
  fi
  local user
  for user in postgres nobody; do
    id -u "$user" >/dev/null 2>&1 || continue
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
    return
  done
  die "root may not run a PostgreSQL server, and there is neither a user postgres nor nobody"
}

own() { # path...: gives it to whoever the server runs as
  [ "$(id -u)" -eq 0 ] || return 0
  chown -R "$(as_server id -u):$(as_server id -g)" "$@"
}

# In memory where there is plenty (making a database takes a tenth of the time there), else under target/ where the
# server's user can reach it, else among the temporary files. A short name: a socket's path has room for 107 bytes.
new_home() {
  local under home
  for under in "${CLAUDEMESH_TEST_POSTGRES:-}" /dev/shm "${CARGO_TARGET_DIR:-$project/target}" "${TMPDIR:-/tmp}"; do
    [ -n "$under" ] || continue
    [ "$under" != /dev/shm ] || [ "$(df --output=avail /dev/shm 2>/dev/null | tail -n 1 | grep . || echo 0)" -gt "$MEMORY_KIB" ] || continue
    mkdir -p "$under" 2>/dev/null && home=$(mktemp -d "$under/pg.XXXXXX" 2>/dev/null) || continue
    own "$home"
    if [ "${#home}" -le 80 ] && (cd / && as_server test -w "$home"); then
      printf '%s' "$home"
      return
    fi
    rm -rf "$home"
  done
  die "there is no folder for a server: tried memory, target/ and the temporary files"
}

pg_ctl() { # home, word...
  local home=$1
  shift
  (cd / && as_server "$programs/pg_ctl" --pgdata="$home/data" --timeout="$WAIT_SECONDS" --silent "$@") >/dev/null
}

start() {
  local port='' cert='' key='' owner='' home socket
  while [ "$#" -gt 0 ]; do
    case "$1" in
      --port) port=$2 ;;
      --cert) cert=$2 ;;
      --key) key=$2 ;;
      --owner) owner=$2 ;;
      *) die "usage: postgres.sh start [--owner PID] [--port PORT --cert FILE --key FILE]" ;;
    esac
    shift 2
  done
  home=$(new_home)
  # Half a server is no server.
  half=$home
  trap 'cat "$half"/*.log >&2; stop "$half"' EXIT
  (cd / && LC_ALL=C as_server "$programs/initdb" --pgdata="$home/data" --username=claudemesh --auth-local=trust \
    --auth-host=reject --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions) >"$home/initdb.log" 2>&1
  {
    printf "unix_socket_directories = '%s'\nunix_socket_permissions = 0700\nlisten_addresses = ''\n" "$home"
    printf 'fsync = off\nfull_page_writes = off\nmax_connections = 300\nautovacuum = off\n'
    # What makes a database quickly, of which every test has one.
    printf 'wal_level = minimal\nmax_wal_senders = 0\nwal_init_zero = off\nshared_buffers = 128MB\nmax_wal_size = 256MB\n'
  } | own_file "$home/data/conf.append" && cat "$home/data/conf.append" >>"$home/data/postgresql.conf"
  if [ -n "$port" ]; then
    install -m 0600 "$cert" "$home/server.crt"
    install -m 0600 "$key" "$home/server.key"
    own "$home/server.crt" "$home/server.key"
    printf "port = %s\nlisten_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\n" \
      "$port" "$home/server.crt" "$home/server.key" >>"$home/data/postgresql.conf"
    printf 'local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n' >"$home/data/pg_hba.conf"
  fi
  pg_ctl "$home" --log="$home/server.log" --wait start
  trap - EXIT
  [ -z "$owner" ] || watch_owner "$home" "$owner"
  socket=${home//\//%2F}${port:+:$port}
  printf 'export CLAUDEMESH_TEST_DATABASE_URL=postgres://claudemesh@%s/postgres\nexport CLAUDEMESH_TEST_POSTGRES=%s\n' \
    "$socket" "$home"
}

own_file() { cat >"$1" && own "$1"; }

# A killed run cannot tidy up: somebody else does, within a second.
watch_owner() { # home, pid
  # A zombie still has its number, and is gone all the same.
  setsid bash -c 'lives() { local stat; read -r stat 2>/dev/null <"/proc/$1/stat" && [[ "${stat##*) }" != Z* ]]; }
    while [ -d "$1/data" ] && lives "$2"; do sleep 1; done
    [ ! -d "$1/data" ] || exec "$0" stop "$1"' "$project/scripts/postgres.sh" "$1" "$2" </dev/null >/dev/null 2>&1 &
}

stop() { # home
  local inside
  for inside in "$1"/pg.*; do
    [ -d "$inside/data" ] && stop "$inside"
  done
  pg_ctl "$1" --mode=immediate --wait stop 2>/dev/null || true
  rm -rf "$1"
}

main() {
  local verb=${1:-}
  [ "$#" -gt 0 ] && shift
  find_programs
  case "$verb" in
    start) start "$@" ;;
    stop | restart | kill)
      [ -d "${1:-}/data" ] || die "usage: postgres.sh $verb HOME (the folder that start printed)"
      case "$verb" in
        stop) stop "$1" ;;
        # As a crash of the machine would: no goodbye to anyone.
        kill) pg_ctl "$1" --mode=immediate --wait stop ;;
        restart) pg_ctl "$1" --log="$1/server.log" --mode=fast --wait restart ;;
      esac
      ;;
    *) die "usage: postgres.sh start|stop|restart|kill" ;;
  esac
}

main "$@"
