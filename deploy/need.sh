#!/usr/bin/env bash
# need.sh THING:PACKAGE ... - installs the Debian packages of the things that are missing here.
#
# THING is a command, or a path if it has a slash; PACKAGE is the package that contains it. Both may
# be alternatives, joined by |: one of the things is enough, and the first package that this release
# of Debian or Ubuntu has is installed. If nothing is missing, the script prints and changes
# nothing. Services that come with a package are not started.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

present() { # present THING[|THING...]
  local things thing
  IFS='|' read -ra things <<<"$1"
  for thing in "${things[@]}"; do
    case $thing in
      */*) [[ ! -e $thing ]] || return 0 ;;
      *) ! command -v "$thing" >/dev/null || return 0 ;;
    esac
  done
  return 1
}

missing=()
for pair; do
  present "${pair%:*}" || missing+=("${pair##*:}")
done
((${#missing[@]})) || exit 0

fail() {
  echo "need.sh: $*" >&2
  exit 1
}
command -v apt-get >/dev/null ||
  fail "no apt-get here; install by hand what Debian calls: ${missing[*]}"
as_root() { "$@"; }
if ((EUID)); then
  command -v sudo >/dev/null ||
    fail "installing ${missing[*]} takes root: install sudo, or run this as root"
  as_root() { sudo "$@"; }
fi

tmp=$(mktemp -d)
policy=/usr/sbin/policy-rc.d # its exit code 101 tells a package not to start its service
our_policy=
cleanup() {
  [[ -z $our_policy ]] || as_root rm -f "$policy"
  rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

install_missing() {
  local alternatives names package packages=()
  for alternatives in "${missing[@]}"; do
    IFS='|' read -ra names <<<"$alternatives"
    for package in "${names[@]}"; do
      apt-cache show "$package" >/dev/null 2>&1 && break
    done
    packages+=("$package")
  done
  echo "installing: ${packages[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y \
    --no-install-recommends "${packages[@]}" >"$tmp/log" 2>&1 </dev/null
}

if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$tmp/policy"
  our_policy=yes
  as_root install -m 755 "$tmp/policy" "$policy"
fi
# update_lists is called only if installing fails with the present package lists, because there are
# none or they are out of date.
update_lists() {
  echo "fetching the package lists"
  as_root apt-get -o DPkg::Lock::Timeout=120 update >"$tmp/log" 2>&1 </dev/null
}
install_missing || { update_lists && install_missing; } || {
  cat "$tmp/log" >&2
  fail "apt-get failed"
}
