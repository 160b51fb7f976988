#!/usr/bin/env bash
# Records again what the real supervisor of OTP does: supervision/tests/otp/traces.jsonl.
#
# Needs Debian's `erlang-base` and takes about 40 seconds, since the intensity window is counted in real ones.
# The scenarios come from a fixed seed, so that two recordings of one version are equal byte for byte.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../supervision/tests/otp"

if ! command -v erlc >/dev/null 2>&1; then
  echo 'record-otp: erlc is missing, install the package erlang-base' >&2
  exit 1
fi
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT

erlc -Werror -o "$built" otp_record.erl
# One scheduler: the log sees things in the order they happen.
ERL_CRASH_DUMP=/dev/null erl -noshell -noinput +S 1:1 -pa "$built" -s otp_record main -extra "$built/traces.jsonl"
mv "$built/traces.jsonl" traces.jsonl
