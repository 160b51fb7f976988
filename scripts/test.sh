#!/usr/bin/env bash
# Builds the programs and runs every test of the workspace; arguments go to the test binaries.
#
# Ends with one line, `N passed, N failed`, summed over all of cargo's summaries; the exit code is
# cargo's. SOAK=1 runs the long stories in full instead of at a twentieth. PostgreSQL is a server of
# this run alone, stopped at its end; or the one that CLAUDEMESH_TEST_DATABASE_URL names, whose role
# there has to be a superuser.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

log=$(mktemp)
server=''
finish() {
  rm -f "$log"
  [ -z "$server" ] || scripts/postgres.sh stop "$server"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The stories run the programs, and cargo builds those of another crate only when told.
cargo build --workspace --bins || exit
if [ -z "${CLAUDEMESH_TEST_DATABASE_URL:-}" ]; then
  started=$(scripts/postgres.sh start --owner $$) || exit
  eval "$started"
  server=$CLAUDEMESH_TEST_POSTGRES
fi
# Standard output alone is copied, so that cargo's progress still finds the terminal.
cargo test --workspace --no-fail-fast -- "$@" | tee "$log"
status=${PIPESTATUS[0]}

awk -v status="$status" '
  /^test result: / {
    for (i = 2; i <= NF; i++) {
      if ($i ~ /^passed/) passed += $(i - 1)
      if ($i ~ /^failed/) failed += $(i - 1)
    }
  }
  END {
    if (status != 0 && failed == 0) print "the tests did not all run (cargo ended with " status ")"
    printf "%d passed, %d failed\n", passed, failed
  }' "$log"
exit "$status"
