#!/usr/bin/env bash
# demo.sh - shows the tunnel at work on this one machine; `make demo` builds it and runs this.
#
# Two hosts, made as network namespaces, have one cable between them. One runs `tunnel serve`, the
# other `tunnel connect`. Then a ping and a file of 100 MB go across. Everything that this makes is
# removed when it ends, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ((EUID)); then
  command -v sudo >/dev/null || {
    echo "demo.sh: network namespaces take root: install sudo, or run this as root" >&2
    exit 1
  }
  exec sudo deploy/demo.sh
fi
PATH=$PATH:/usr/sbin:/sbin
deploy/need.sh ip:iproute2 ping:iputils-ping nc.openbsd:netcat-openbsd
[[ -x bin/tunnel ]] || { echo "demo.sh: no bin/tunnel: run make demo" >&2; exit 1; }

server=tunnel-demo-$$-server
client=tunnel-demo-$$-client
tmp=
step="getting ready"
declare -A log=() pid=() # of each host's tunnel: the descriptor of its output, its process

# cleanup undoes everything, at whatever step the demo ended. It kills only processes in the two
# namespaces.
cleanup() {
  local code=$? err ns i IFS=$' \t\n' # a signal may have come within `IFS= read`
  trap '' INT TERM HUP PIPE
  set +e
  exec {err}>&2 2>/dev/null
  for ns in "$client" "$server"; do
    [[ -e /run/netns/$ns ]] || continue
    kill $(ip netns pids "$ns")
    for ((i = 0; i < 50; i++)); do
      [[ $(ip netns pids "$ns") ]] || break
      sleep 0.1
    done
    kill -KILL $(ip netns pids "$ns") && ip netns exec "$ns" bin/tunnel cleanup
    ip netns del "$ns"
  done
  [[ -z $tmp ]] || rm -rf "$tmp"
  case $code in
    0) ;;
    129 | 130 | 141 | 143) echo $'\ninterrupted; everything is cleaned up' ;;
    *) echo $'\n'"FAILED while $step; everything is cleaned up" >&"$err" ;;
  esac
  exit "$code"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

bold='' plain=''
[[ ! -t 1 ]] || bold=$'\e[1m' plain=$'\e[0m'

# begin names a step.
begin() {
  step=$1
  printf '\n%s%s%s\n' "$bold" "$2" "$plain"
}

# say prints lines with the name of the host that they come from.
say() { # say HOST [LINE]
  local line
  if (($# > 1)); then printf '  %s │ %s\n' "$1" "$2"; return; fi
  while IFS= read -r line; do printf '  %s │ %s\n' "$1" "$line"; done
}

# on shows a command and its output.
on() { # on HOST COMMAND...
  local host=$1
  shift
  say "$host" "\$ $*"
  ip netns exec "${!host}" "$@" | say "$host"
}

# start runs the tunnel on a host. Its output is read by follow.
start() { # start HOST COMMAND FLAGS...
  local host=$1 fifo=$tmp/$1.log fd
  shift
  say "$host" "\$ tunnel $*"
  mkfifo "$fifo"
  ip netns exec "${!host}" bin/tunnel "$@" --state "$tmp/$host" >"$fifo" 2>&1 &
  pid[$host]=$!
  exec {fd}<"$fifo"
  log[$host]=$fd
}

# follow shows the ip commands of a host's tunnel, as they run, until a line begins with WORD or the
# output ends.
follow() { # follow HOST [WORD]
  local line
  while IFS= read -r -t 15 -u "${log[$1]}" line; do
    case $line in
      *' msg=run cmd="'*) line=${line#*cmd=\"} && say "$1" "# ${line%%\"*}" ;;
      tunnel:*) say "$1" "$line" ;;
      "${2:-nothing}"*) say "$1" "$line" && return ;;
    esac
  done
  (($# == 1)) # the end of the output is a failure only if a word was expected
}

# stop ends a host's tunnel, shows what it undoes, and fails unless it ends well.
stop() { # stop HOST
  say "$1" "\$ kill -TERM ${pid[$1]}"
  kill "${pid[$1]}"
  follow "$1"
  wait "${pid[$1]}"
}

tmp=$(mktemp -d)
TUNNEL_TOKEN=$(head -c 32 /dev/urandom | base64)
export TUNNEL_TOKEN

begin "making the two hosts" "Two hosts, and one cable between them"
echo
echo "    server 198.51.100.1 ───────────────── 198.51.100.2 client"
for ns in "$server" "$client"; do
  ip netns add "$ns"
  ip -n "$ns" link set dev lo up
done
ip link add eth0 netns "$server" type veth peer name eth0 netns "$client"
ip -n "$server" addr add 198.51.100.1/24 dev eth0
ip -n "$client" addr add 198.51.100.2/24 dev eth0
ip -n "$server" link set dev eth0 up
ip -n "$client" link set dev eth0 up

begin "starting the server" "The server, and the ip commands that it runs"
start server serve --plain
follow server listening

begin "starting the client" "The client joins; both have the same token in TUNNEL_TOKEN"
start client connect ws://198.51.100.1:8443
follow client up:

begin "reading the routes" "What the kernels know now"
on server ip route
on client ip route

begin "pinging across" "A ping each way, through the tunnel"
on client ping -c 3 -i 0.3 -W 5 10.1.1.1
on server ping -c 3 -i 0.3 -W 5 10.1.1.3

begin "sending a file across" "A file of 100 MB, through the tunnel"
head -c 100000000 /dev/urandom >"$tmp/sent"
say server '$ nc -l 10.1.1.1 9000 >received'
ip netns exec "$server" timeout 60 nc.openbsd -N -l 10.1.1.1 9000 >"$tmp/received" </dev/null &
receiver=$!
until [[ $(ip netns exec "$server" ss -Hltn 'sport = :9000') ]]; do
  kill -0 "$receiver"
  sleep 0.05
done
say client '$ nc -N 10.1.1.1 9000 <sent'
begun=${EPOCHREALTIME/./}
ip netns exec "$client" timeout 60 nc.openbsd -N 10.1.1.1 9000 <"$tmp/sent" >/dev/null
wait "$receiver"
took=$((${EPOCHREALTIME/./} - begun)) # microseconds
sent=$(sha256sum <"$tmp/sent")
received=$(sha256sum <"$tmp/received")
say client "sha256 ${sent%% *}"
say server "sha256 ${received%% *}"
[[ $sent == "$received" ]]
printf '\n    the same file; %d.%01d s, %s%d MB/s%s\n' \
  $((took / 1000000)) $((took / 100000 % 10)) "$bold" $((100000000 / took)) "$plain"

begin "stopping both" "Both stop, and take back what they did"
stop client
stop server
on client ip route
on server ip route
printf '\n%sAll well.%s The README says how to do the same between two machines.\n' "$bold" "$plain"
