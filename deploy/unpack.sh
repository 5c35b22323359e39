#!/usr/bin/env bash
# unpack.sh DIR PACKAGE ... - fetches Debian packages and unpacks each into DIR/PACKAGE.
#
# It is for packages that the tests use and this machine must not have installed: they conflict with
# each other, or take its /etc/resolv.conf over. Nothing of them is run, and no privileges are
# needed. PACKAGE may be alternatives, joined by |: the first that this release of Debian or Ubuntu
# has is unpacked, under the name of the first. What is there already is left as it is.
set -euo pipefail

dir=$1
shift
missing=()
for package; do
  [[ -e $dir/${package%%|*} ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

fail() {
  echo "unpack.sh: $*" >&2
  exit 1
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  fail "no apt-get and dpkg-deb here: unpack into $dir what Debian calls: ${missing[*]}"

mkdir -p "$dir"
tmp=$(mktemp -d -p "$dir")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fetch puts each package into a directory of its own, so that its file need not be named.
fetch() {
  local alternatives names package
  for alternatives in "${missing[@]}"; do
    IFS='|' read -ra names <<<"$alternatives"
    for package in "${names[@]}"; do
      apt-cache show "$package" >/dev/null 2>&1 && break
    done
    rm -rf "$tmp/${names[0]:?}" # of a first try, by another name
    mkdir "$tmp/${names[0]}"
    (cd "$tmp/${names[0]}" && apt-get download "$package") >"$tmp/log" 2>&1 || return
  done
}
# The package lists may be missing or out of date, as in need.sh.
update_lists() {
  local as_root=()
  ((!EUID)) || as_root=(sudo)
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=120 update >"$tmp/log" 2>&1 </dev/null
}
echo "unpacking: ${missing[*]}"
fetch || { update_lists && fetch; } || {
  cat "$tmp/log" >&2
  fail "apt-get failed"
}
for package in "${missing[@]}"; do
  package=${package%%|*}
  mkdir "$tmp/tree"
  dpkg-deb -x "$tmp/$package"/*.deb "$tmp/tree"
  for part in bin sbin lib; do # as on a system with a merged /usr
    [[ ! -d $tmp/tree/$part ]] || {
      mkdir -p "$tmp/tree/usr/$part"
      cp -a "$tmp/tree/$part/." "$tmp/tree/usr/$part/"
      rm -r "$tmp/tree/$part"
    }
  done
  mv "$tmp/tree" "$dir/$package"
done
