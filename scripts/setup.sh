#!/usr/bin/env bash
# Checks what a target needs and installs what is missing: `setup.sh demo|test|bench|lint`.
#
# Silent when nothing is missing. Otherwise it says in one line what it installs and how, and where
# it may not install it fails with the command to type. Nothing is installed outside the system's
# own packages and the folders .venv and .node of this project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MIN_NODE=18
readonly MIN_PYTHON_MINOR=10
# The first that makes databases with ICU's order, which the tests compare with.
readonly MIN_POSTGRES=15
# The client that the stories of sessions drive: a version that is known to run here, so that a newer one cannot break them.
readonly CLIENT=@anthropic-ai/claude-code@2.1.197
PATH="$PATH:$PWD/.venv/bin:${HOME:-/root}/.cargo/bin"

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  printf 'setup: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---- the Rust toolchain: the one thing that is asked of the user -----------------------------------

check_cargo() {
  have cargo || die "cargo is missing: install the Rust toolchain (rustup, stable) and try again"
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  found=$(cargo --version | awk '{print $2}')
  [ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
    die "cargo $found is too old: $wanted or newer is needed" "rustup update stable"
}

check_lint_tools() {
  cargo clippy --version >/dev/null 2>&1 || die "cargo clippy is missing; type:" "rustup component add clippy"
  cargo fmt --version >/dev/null 2>&1 || die "cargo fmt is missing; type:" "rustup component add rustfmt"
  have git || packages+=(git)
}

# ---- system packages, gathered first so that one installation does all ----------------------------

packages=()

check_compiler() {
  # Everything in Rust links with it, and SQLite is compiled from its source.
  have cc || packages+=(gcc libc6-dev)
}

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

check_node() {
  if ! have node; then
    packages+=(nodejs npm)
    return
  fi
  local major
  major=$(node_major)
  [ "${major:-0}" -ge "$MIN_NODE" ] ||
    die "node $(node --version 2>/dev/null) is too old: $MIN_NODE or newer is needed; install one and put it first on PATH"
  have npm || packages+=(npm)
}

check_python() {
  if ! have python3; then
    packages+=(python3)
    have uv || packages+=(python3-venv)
    return
  fi
  python3 -c "import sys; sys.exit(sys.version_info < (3, $MIN_PYTHON_MINOR))" ||
    die "$(python3 --version 2>&1) is too old: 3.$MIN_PYTHON_MINOR or newer is needed; install one and put it first on PATH"
  have uv || python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
}

postgres_major() { "$1" --version 2>/dev/null | sed -n 's/.* \([0-9][0-9]*\).*/\1/p'; }

# The server that the store's tests run on. No cluster of the system's own is made or started for it.
check_postgres() {
  local server
  [ -z "${CLAUDEMESH_TEST_DATABASE_URL:-}" ] || return 0
  for server in "$(command -v initdb 2>/dev/null)" /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$server" ] && [ -x "${server%/*}/postgres" ] && [ "$(postgres_major "$server")" -ge "$MIN_POSTGRES" ] && return
  done
  packages+=(postgresql)
}

# Debian's package would make a cluster and start it, today and at every boot: the package that decides this comes
# first, and is told otherwise.
without_cluster() { # word to run as another user...
  [[ " ${packages[*]} " == *" postgresql "* ]] || return 0
  "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common &&
    "$@" sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
}

by_hand() {
  local first=''
  [[ " ${packages[*]} " != *" postgresql "* ]] ||
    first="sudo apt-get install -y postgresql-common && sudo sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && "
  printf '%s' "sudo apt-get update && ${first}sudo apt-get install -y ${packages[*]}"
}

install_packages() {
  [ "${#packages[@]}" -gt 0 ] || return 0
  local list="${packages[*]}" as=() log
  have apt-get || die "missing: $list; this system has no apt-get, so install them with its own package manager"
  if [ "$(id -u)" -ne 0 ]; then
    { have sudo && sudo -n true 2>/dev/null; } ||
      die "missing: $list; they may not be installed from here without a password; type:" "$(by_hand)"
    as=(sudo -n)
  fi
  say "installing $list with ${as[*]:+sudo }apt-get"
  log=$(mktemp)
  if ! {
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
      without_cluster "${as[@]}" &&
      "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  } >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    die "apt-get could not install $list (its words are above); put it right and try again, or type:" "$(by_hand)"
  fi
  rm -f "$log"
  # A distribution may be older than what we need: say so now and not in the middle of a deploy.
  if [[ " $list " == *" nodejs "* ]]; then
    local major
    major=$(node_major)
    [ "${major:-0}" -ge "$MIN_NODE" ] ||
      die "this system's nodejs is $(node --version 2>/dev/null || echo absent): $MIN_NODE or newer is needed; install one and put it first on PATH"
  fi
  [[ " $list " != *" python3 "* ]] || python3 -c "import sys; sys.exit(sys.version_info < (3, $MIN_PYTHON_MINOR))" ||
    die "this system's python3 is $(python3 --version 2>&1): 3.$MIN_PYTHON_MINOR or newer is needed"
  if [[ " $list " == *" postgresql "* ]]; then
    packages=()
    check_postgres
    [ "${#packages[@]}" -eq 0 ] ||
      die "this system's PostgreSQL is too old: $MIN_POSTGRES or newer is needed; or name a server of your own in CLAUDEMESH_TEST_DATABASE_URL"
  fi
}

# ---- uv, in a folder of the project ------------------------------------------------------------------

install_uv() {
  uv --version >/dev/null 2>&1 && return
  say "installing uv into .venv with python3 -m venv and pip"
  local log
  log=$(mktemp)
  if ! { python3 -m venv .venv && .venv/bin/pip install --disable-pip-version-check --quiet uv; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    die "uv could not be installed (the words are above); put it right and try again, or type:" \
      "python3 -m venv .venv && .venv/bin/pip install uv"
  fi
  rm -f "$log"
}

# ---- the Claude Code client, in a folder of the project ----------------------------------------------

# Without it all else can still be tested: it is said here, and by the stories that need it.
install_client() {
  local log version=${CLIENT##*@}
  [ "$(.node/node_modules/.bin/claude --version 2>/dev/null | cut -d ' ' -f 1)" != "$version" ] || return 0
  say "installing $CLIENT into .node with npm"
  log=$(mktemp)
  if ! { npm install --prefix .node --no-audit --no-fund --loglevel=error "$CLIENT" && .node/node_modules/.bin/claude --version; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say "the Claude Code client could not be installed (the words are above): the stories that drive it will fail; type:"
    say "  npm install --prefix .node $CLIENT"
  fi
  rm -f "$log"
}

main() {
  case "${1:-}" in
    demo | test | bench | lint) ;;
    *) die "usage: scripts/setup.sh demo|test|bench|lint" ;;
  esac
  check_cargo
  check_compiler
  if [ "$1" = lint ]; then
    check_lint_tools
    install_packages
  else
    check_node
    check_python
    [ "$1" = demo ] || check_postgres
    install_packages
    install_uv
    [ "$1" != test ] || install_client
  fi
}

main "$@"
