#!/usr/bin/env bash
# The main job on two real MCP servers: deploy, call, crash, recover. Ctrl-C stops everything.
#
# Everything lies in a temporary directory with a port of its own, so nothing of the user's is
# touched, and the directory is removed at the end. ONCE=1 ends by itself. The exit code is 0 only
# when every step did what it should and no process is left. CLAUDEMESH_BIN names a built program;
# without it the demo builds one.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH="$PATH:$project/.venv/bin:${HOME:-/root}/.cargo/bin"

readonly READY_SECONDS=30 STOP_SECONDS=60 VANISH_SECONDS=10

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
good() { printf '%s%s%s\n' "$green" "$*" "$plain"; }
bad() { printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2; }
die() {
  bad "$@"
  exit 1
}

root=''
up=''
log=/dev/null

# ---- the end, on whichever way it is reached ---------------------------------------------------------

# Everyone who names the demo's directory in arguments or environment, or works in it.
left_over() {
  local folder pid
  local -a words
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    [ "$pid" = "$$" ] || [ "$pid" = "$BASHPID" ] && continue
    # A process may end while it is looked at.
    { mapfile -d '' -t words <"$folder/cmdline"; } 2>/dev/null || continue
    if [[ "${words[*]}" == *"$root"* ]]; then
      printf '%s %s\n' "$pid" "${words[*]}"
      continue
    fi
    { mapfile -d '' -t words <"$folder/environ"; } 2>/dev/null || words=()
    if [[ "${words[*]}" == *"$root"* ]] || [[ "$(readlink "$folder/cwd" 2>/dev/null)" == "$root"* ]]; then
      printf '%s %s\n' "$pid" "$(tr '\0' ' ' <"$folder/cmdline" 2>/dev/null)"
    fi
  done
}

# Ends `up` as Ctrl-C in its own terminal would, and answers for what it leaves.
stop_all() {
  local status=0 code=0 deadline left
  if [ -n "$up" ]; then
    note "stopping"
    kill -INT "$up" 2>/dev/null || true
    deadline=$((SECONDS + STOP_SECONDS))
    while kill -0 "$up" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
    if kill -0 "$up" 2>/dev/null; then
      bad "\`claudemesh up\` did not end within $STOP_SECONDS s and is killed"
      kill -KILL "$up" 2>/dev/null || true
      status=1
    fi
    wait "$up" 2>/dev/null || code=$?
    up=''
    [ "$code" -eq 0 ] || { bad "\`claudemesh up\` ended with $code" && status=1; }
  fi
  deadline=$((SECONDS + VANISH_SECONDS))
  while left=$(left_over) && [ -n "$left" ] && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
  if [ -n "$left" ]; then
    bad "processes are left:"$'\n'"$left"
    printf '%s\n' "$left" | while read -r pid _; do kill -KILL "$pid" 2>/dev/null || true; done
    return 1
  fi
  good "stopped; no process is left"
  return "$status"
}

finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  [ -n "$root" ] || exit "$status"
  stop_all || { [ "$status" -ne 0 ] || status=1; }
  if [ "$status" -ne 0 ]; then
    printf '\n--- the end of the log\n' >&2
    tail -n 40 "$log" >&2
    tail -n 40 "$root"/data/runner/*.log 2>/dev/null >&2
  fi
  rm -rf "$root"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- steps ---------------------------------------------------------------------------------------------

build() {
  if [ -n "${CLAUDEMESH_BIN:-}" ]; then
    bin=$CLAUDEMESH_BIN
    return
  fi
  title "building"
  (cd "$project" && cargo build --quiet --bins -p cli) || die "the build failed"
  bin="${CARGO_TARGET_DIR:-$project/target}/debug/claudemesh"
}

# The command as a person would type it.
show() {
  local word
  printf '\n%s$ claudemesh' "$bold"
  for word in "$@"; do
    if [[ "$word" =~ ^[[:alnum:]@%+=:,./_-]+$ ]]; then printf ' %s' "$word"; else printf " '%s'" "$word"; fi
  done
  printf '%s\n' "$plain"
}

run() {
  show "$@"
  "$bin" "$@" || die "\`claudemesh $1\` ended with $?"
}

# The same, and what it prints must hold a text.
run_expecting() {
  local expected=$1 output code=0
  shift
  show "$@"
  output=$("$bin" "$@") || code=$?
  printf '%s\n' "$output"
  [ "$code" -eq 0 ] || die "\`claudemesh $1\` ended with $code"
  [[ "$output" == *"$expected"* ]] || die "the answer does not hold \"$expected\""
}

status_of() { # path: the HTTP status, empty when nobody answers
  local line=''
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 0
    printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\nAuthorization: Bearer %s\r\n\r\n' "$1" "$port" \
      "$(cat "$root/data/operator.token" 2>/dev/null)" >&3
    read -r -t 5 _ line _ <&3 || true
    exec 3>&-
  } 2>/dev/null
  printf '%s' "$line"
}

start_up() {
  title "a broker and its runner, in $root"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  log="$root/up.log"
  printf '\n%s$ claudemesh up --listen 127.0.0.1:%s &%s\n' "$bold" "$port" "$plain"
  # Job control gives it a process group of its own: Ctrl-C reaches this script alone, which then
  # stops it in order; without it bash would also start it with SIGINT ignored.
  set -m
  "$bin" up --listen "127.0.0.1:$port" </dev/null >"$log" 2>&1 &
  up=$!
  set +m
  local deadline=$((SECONDS + READY_SECONDS)) status
  while status=$(status_of /health/ready) && [ "$status" != 200 ]; do
    if ! kill -0 "$up" 2>/dev/null; then
      local code=0
      wait "$up" || code=$?
      up=''
      cat "$log" >&2
      die "\`claudemesh up\` ended with $code"
    fi
    [ "$SECONDS" -lt "$deadline" ] || die "not ready after $READY_SECONDS s (last status: ${status:-no answer})"
    sleep 0.05
  done
  good "ready"
}

show_addresses() {
  title "addresses"
  cat <<TEXT
  peers    ws://127.0.0.1:$port/ws
  health   http://127.0.0.1:$port/health   http://127.0.0.1:$port/health/ready
  tree     http://127.0.0.1:$port/tree     (with the token in $root/data/operator.token)

  From another terminal:
    export CLAUDEMESH_CONFIG_DIR=$root/config CLAUDEMESH_DATA_DIR=$root/data
    $bin tree
TEXT
}

main() {
  build
  # A short name: a Unix socket's path has room for 107 bytes.
  root=$(mktemp -d -t cm-demo.XXXXXX)
  unset CLAUDEMESH_OPERATOR_TOKEN CLAUDEMESH_DISPLAY_NAME CLAUDEMESH_SESSION_ID CLAUDEMESH_ROLE \
    BROKER_PORT BROKER_ENCRYPTION_KEY DATABASE_URL RUNNER_URL RUNNER_PORT RUNNER_TOKEN
  export CLAUDEMESH_DATA_DIR="$root/data" CLAUDEMESH_CONFIG_DIR="$root/config"
  start_up

  title "two MCP servers, from npm and from PyPI"
  run deploy everything --npx @modelcontextprotocol/server-everything
  run deploy time --uvx mcp-server-time
  run catalog

  title "calls through the whole chain: socket, broker, runner, process, and back"
  run_expecting "hello from the mesh" call everything echo message='hello from the mesh'
  run_expecting "Europe/Berlin" call time get_current_time timezone=Europe/Berlin

  title "a crash: the server's process is killed, the tree tells, the next call succeeds"
  python3 "$project/scripts/demo_crash.py" "$bin" everything || die "the service did not recover as it should"
  run_expecting "hello again" call everything echo message='hello again'

  title "the tree"
  run tree
  show_addresses

  if [ -n "${ONCE:-}" ]; then
    title "done"
    return
  fi
  printf '\n%sup until Ctrl-C%s\n' "$bold" "$plain"
  # All was done: being asked to stop is the good end.
  trap 'exit 0' INT TERM HUP
  local code=0
  wait "$up" || code=$?
  up=''
  die "\`claudemesh up\` ended by itself with $code"
}

main
