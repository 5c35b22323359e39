#!/usr/bin/env bash
# vulncheck.sh PACKAGE@VERSION [DIR] - looks for known vulnerabilities in what this program calls.
#
# PACKAGE is govulncheck's; DIR is a mirror of the vulnerability database, instead of the one on the
# Internet. That one may be out of reach: then one line says so, and that is no failure. A mirror
# that cannot be read is one.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
GOBIN=$tmp go install "$1"
db=()
if [[ -n ${2:-} ]]; then
  if [[ ! -e $2/index/modules.json.gz ]]; then # govulncheck finds nothing in an empty directory
    echo "vulncheck.sh: $2 is no mirror of the vulnerability database: it has no index/modules.json.gz" >&2
    exit 1
  fi
  db=(-db "file://$(realpath "$2")")
fi

code=0
timeout 600 "$tmp/govulncheck" "${db[@]}" ./... >"$tmp/out" 2>&1 || code=$?
if [[ ! ${2:-} ]] && { ((code == 124)) || grep -q '^govulncheck: fetching vulnerabilities: Get ' "$tmp/out"; }; then
  echo "vulncheck.sh: NOT CHECKED for known vulnerabilities: their database is out of reach; VULNDB=DIR names a mirror of it" >&2
  exit 0
fi
cat "$tmp/out"
exit "$code"
