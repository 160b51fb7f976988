#!/usr/bin/env bash
# Measures the release build and renews the tables of docs/performance.md; arguments go to load-compare.
#
# What was measured stays under target/bench as JSON. The exit code is 0 only when every aim is kept.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

programs="${CARGO_TARGET_DIR:-target}/release"
results="${CARGO_TARGET_DIR:-target}/bench"
mkdir -p "$results" || exit

cargo build --release --workspace --bins || exit
status=0
# It says itself when its promise is broken, and its figures are shown all the same.
"$programs/load-recovery" >"$results/recovery.json" || status=$?
recovery=()
[ ! -s "$results/recovery.json" ] || recovery=(--recovery "$results/recovery.json")
"$programs/load-compare" "${recovery[@]}" --json "$results/compare.json" --page docs/performance.md "$@" || status=$?
"$programs/load-stdio" >"$results/stdio.json" || status=$?
"$programs/load-watch" --json "$results/watch.json" --page docs/performance.md || status=$?
"$programs/load-services" --json "$results/services.json" --page docs/performance.md || status=$?
# Its PostgreSQL server keeps its files on the disk and writes through to it, as somebody's own would.
home=$(mktemp -d) && chmod 755 "$home" || exit
trap 'rm -rf "$home"' EXIT
CLAUDEMESH_TEST_POSTGRES=$home "$programs/load-mail" --json "$results/mail.json" --page docs/performance.md || status=$?
exit "$status"
