#!/usr/bin/env bash
# Looks for inputs that a reader of strangers' bytes does not survive: `fuzz.sh [SECONDS] [TARGET…]`.
#
# libFuzzer on the stable toolchain, guided by coverage; the targets and what holds of each are in fuzz/src/lib.rs. What it
# learns stays under target/fuzz. An input that breaks something is written to fuzz/regressions, where every test run
# replays it: it goes into the same commit as its repair. Exits with 1 when there is one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

seconds=${1:-60}
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(wire link invite guard)
# Longest input.
readonly BYTES=16384

host=$(rustc -vV | sed -n 's/^host: //p')
work="${CARGO_TARGET_DIR:-target}/fuzz"
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# Assertions stay in: an overflow is a find. With --target the flags are not those of build scripts.
RUSTFLAGS="$coverage -Ccodegen-units=1 -Cdebug-assertions" CARGO_INCREMENTAL=0 \
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=none \
  cargo build --release --package fuzz --features libfuzzer --target "$host" --target-dir "$work" \
  "${targets[@]/#/--bin=fuzz-}" || exit
cargo build --package fuzz --bin fuzz-seeds || exit

status=0
for target in "${targets[@]}"; do
  corpus="$work/corpus/$target"
  mkdir -p "$corpus" "fuzz/regressions/$target"
  "${CARGO_TARGET_DIR:-target}/debug/fuzz-seeds" "$target" "$corpus" || exit
  printf '== %s, %s s\n' "$target" "$seconds"
  "$work/$host/release/fuzz-$target" -max_total_time="$seconds" -max_len="$BYTES" -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="fuzz/regressions/$target/" "$corpus" || status=1
done
exit "$status"
