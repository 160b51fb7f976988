#!/usr/bin/env bash
# Every lint, all of them even when one fails, so that one run shows everything.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

failed=()
check() { # name, command...
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

check 'format' cargo fmt --all --check
check 'words' scripts/check-words.sh
check 'shell syntax' bash -n scripts/*.sh .ci/run
if command -v shellcheck >/dev/null 2>&1; then
  check 'shell' shellcheck scripts/*.sh .ci/run
fi
# The development profile and its target folder: what the tests built is not built again.
check 'clippy' cargo clippy --workspace --all-targets -- -D warnings
if command -v cargo-deny >/dev/null 2>&1; then
  check 'licences and duplicates' cargo deny check bans licenses sources
else
  echo '== licences and duplicates: skipped, cargo-deny is not installed here'
fi

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'lint: failed:'
  printf ' [%s]' "${failed[@]}"
  echo
  exit 1
fi
echo 'lint: clean'
