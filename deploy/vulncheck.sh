#!/usr/bin/env bash
# vulncheck.sh PACKAGE@VERSION [DIR] - looks for known vulnerabilities in what this program calls.
#
# PACKAGE is govulncheck's; DIR is a mirror of the vulnerability database, used instead of the one
# on the Internet. If the latter cannot be reached, the script prints one line and succeeds. If the
# mirror cannot be read, it fails.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
GOBIN=$tmp go install "$1"
db=()
if [[ -n ${2:-} ]]; then
  if [[ ! -e $2/index/modules.json.gz ]]; then # govulncheck finds nothing in an empty directory
    echo "vulncheck.sh: $2 is no mirror of the vulnerability database:" \
      "it has no index/modules.json.gz" >&2
    exit 1
  fi
  db=(-db "file://$(realpath "$2")")
fi

code=0
timeout 600 "$tmp/govulncheck" "${db[@]}" ./... >"$tmp/out" 2>&1 || code=$?
unreachable='^govulncheck: fetching vulnerabilities: Get '
if [[ ! ${2:-} ]] && { ((code == 124)) || grep -q "$unreachable" "$tmp/out"; }; then
  echo "vulncheck.sh: NOT CHECKED for known vulnerabilities: their database is out of reach;" \
    "VULNDB=DIR names a mirror of it" >&2
  exit 0
fi
cat "$tmp/out"
exit "$code"
