#!/usr/bin/env bash
# package.sh VERSION DIR ARCH ... - builds packages, their SBOMs and checksums into DIR, for `make
# packages`. What an earlier run has left there is removed first.
#
# VERSION is that of `git describe`. ARCH is Go's name of an architecture, or armhf; it gets a
# package in each format of FORMAT. mips and mipsle, as of routers with OpenWrt, get the program
# alone. NFPM makes packages and CYCLONE SBOMs, as `go run` takes them; an empty CYCLONE makes none.
# SIGN_KEY is the SSH key that signs the checksums; without one they are not signed. The same commit
# gives the same bytes: each time in them is that of the commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
describe=$1 out=$2
shift 2

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export MAINTAINER=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS='-buildvcs=false -trimpath'
commit_date() { date -u -d "@$SOURCE_DATE_EPOCH" "$@"; }

# A version that all formats take, and that grows: v1.2.0-3-gabc, the third commit after v1.2.0, is
# 1.2.0.3; without a tag it is 0.0 and the time of the commit. `tunnel version` has the commit.
if [[ $describe =~ ^v([0-9.]+)(-([0-9]+)-g[0-9a-f]+)?(-dirty)?$ ]]; then
  VERSION=${BASH_REMATCH[1]}${BASH_REMATCH[3]:+.${BASH_REMATCH[3]}}
else
  VERSION=0.0.$(commit_date +%Y%m%d%H%M%S)
fi
export VERSION

mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/tunnel[-_]* "$out"/SHA256SUMS*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# build builds the program for an architecture, once, as $work/tunnel.ARCH.
build() {
  local env=(GOARCH="$1")
  case $1 in
    amd64) env+=(GOAMD64=v1) ;;
    386) env+=(GO386=sse2) ;;
    armhf) env=(GOARCH=arm GOARM=7) ;;
    mips | mipsle) env+=(GOMIPS=softfloat) ;; # most routers have no floating point unit
  esac
  [[ -e $work/tunnel.$1 ]] ||
    env "${env[@]}" make --no-print-directory -s build OUT="$work/tunnel.$1" VERSION="$describe"
}
host=$(go env GOHOSTARCH)
build "$host"

# What all packages have but the program.
files=$work/files
mkdir "$files"
cp deploy/systemd/* deploy/package/* deploy/prometheus/* deploy/grafana/* "$files"
for shell in bash zsh fish; do
  "$work/tunnel.$host" completion "$shell" >"$files/completion.$shell"
done
for page in docs/man/*.[0-9]; do
  gzip -9nc "$page" >"$files/${page##*/}.gz"
done
# Links are for a browser. md2man makes the first heading the title of the page.
{
  printf '# tunnel-protocol 7 "" tunnel\n\n## NAME\n\ntunnel-protocol - how tunnel '
  printf 'connect and tunnel serve talk\n\n## DESCRIPTION\n\n'
  sed -E '1d; s/\[([^]]*)\]\([^)]*\)/\1/g' docs/PROTOCOL.md
} >"$work/protocol.md"
# The last column of a table has sentences, which tbl(1) breaks only in a text block.
go run github.com/cpuguy83/go-md2man/v2 -in "$work/protocol.md" | awk '
  /^\.TS/ { table = 1 }
  /^\.TE/ { table = 0 }
  table && /^l l l / { sub("l l l ", "l l lx") }
  table && /\t/ && !/\tT{$/ {
    match($0, /[^\t]*$/)
    $0 = substr($0, 1, RSTART - 1) "T{\n" substr($0, RSTART) "\nT}"
  }
  { print }' | gzip -9nc >"$files/tunnel-protocol.7.gz"
for document in AUDIT DOCTOR OPERATIONS REFERENCE SECURITY STATUS; do
  gzip -9nc "docs/$document.md" >"$files/$document.md.gz"
done
gzip -9nc >"$files/changelog.gz" <<END
tunnel ($VERSION-1) unstable; urgency=medium

  * Built from commit $describe, which has a CHANGELOG.md.

 -- $MAINTAINER  $(commit_date -R)
END
# The program contains other modules, whose licenses have to come with it.
{
  cat LICENSE
  printf '\nThe licenses of the Go modules in the program are in licenses.gz.\n'
} >"$files/copyright"
{
  go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' \
    . | sort -u | while read -r module version dir; do
    printf '\n---\nThe module %s %s:\n\n' "$module" "$version"
    find "$dir" -maxdepth 1 \( -iname 'LICEN[CS]E*' -o -iname 'COPYING*' -o -iname 'NOTICE*' \) \
      -type f | sort | xargs -r -d '\n' cat
  done
  printf '\n---\nThe runtime and the standard library of Go:\n\n'
  cat "$(go env GOROOT)/LICENSE"
} | gzip -9nc >"$files/licenses.gz"

# sbom lists the modules of a program, without what differs between two runs.
sbom() {
  go run "$CYCLONE" bin -json -std -noserial -version "v$VERSION" "$1" |
    sed '/^    "timestamp": /d' >"$2"
}

for arch; do
  build "$arch"
  program=$work/tunnel.$arch
  [[ -z $CYCLONE ]] || sbom "$program" "$out/tunnel_${VERSION}_$arch.cdx.json"
  case $arch in
    mips | mipsle)
      cp "$program" "$out/tunnel_${VERSION}_linux_${arch}_softfloat"
      continue
      ;;
    armhf) export ARCH=arm7 ;; # as nfpm calls it
    *) export ARCH=$arch ;;
  esac
  cp "$program" "$files/tunnel"
  find "$files" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
  for format in $FORMAT; do
    (cd "$files" && go run "$NFPM" package --packager "$format" --config nfpm.yaml --target "$out")
  done
done

cd "$out"
sha256sum tunnel[-_]* >SHA256SUMS
if [[ $SIGN_KEY ]]; then
  ssh-keygen -q -Y sign -n tunnel -f "$SIGN_KEY" SHA256SUMS
else
  echo "package.sh: SHA256SUMS is not signed: name an SSH key, make packages SIGN_KEY=FILE" >&2
fi
