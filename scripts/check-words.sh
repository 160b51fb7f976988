#!/usr/bin/env bash
# Fails when a file of the project names a package registry's host or a path of a build machine.
#
# Which registry serves a machine is its operator's setting: a name in a script or a document would
# outlive it. Lock files are exempt, since their tools write them. The words are put together here
# from halves, so that this file passes its own check.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host() { printf '%s[.]%s' "$1" "$2"; }
hosts=$(
  IFS='|'
  names=("$(host npmjs org)" "$(host npmjs com)" "$(host yarnpkg com)" "$(host pypi org)"
    "$(host pythonhosted org)" "$(host crates io)" "$(host rubygems org)" "$(host 'proxy[.]golang' org)")
  printf '%s' "${names[*]}"
)
machine_root="/$(printf 'wo%s' rk)"
path="(^|[^[:alnum:]_.~/-])${machine_root}(/|[^[:alnum:]_-]|\$)"

# Tracked files and those about to be: what is not ignored. A deleted file is no file.
files() {
  git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
      case "$file" in
        *.lock | *-lock.json | *-lock.yaml) continue ;;
      esac
      [ -f "$file" ] && printf '%s\0' "$file"
    done
}

bad=0
report() { # what, pattern
  local hits
  hits=$(files | xargs -0 --no-run-if-empty grep -nIE -- "$2" /dev/null || true)
  [ -z "$hits" ] && return
  printf 'check-words: %s\n%s\n' "$1" "$hits" >&2
  bad=1
}

report "a package registry's host is named (say which tool to use, not where it fetches from):" "$hosts"
report "a path of one machine is named:" "$path"
exit "$bad"
