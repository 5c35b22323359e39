#!/usr/bin/env bash
# vm.sh - runs the tunnel from a shell script, as one does on a virtual machine.
#
#   vm.sh install
#       installs bin/tunnel as $PREFIX/bin/tunnel; PREFIX is /usr/local by default
#   vm.sh serve FLAGS... [-- COMMAND...]
#       installs it, serves, runs COMMAND once the server listens, stops
#   vm.sh connect URL FLAGS... [-- COMMAND...]
#       installs it, connects, runs COMMAND once the tunnel is up, stops
#
# For example: TUNNEL_TOKEN=... vm.sh connect wss://hub.example -- curl -sS http://10.1.1.1/
#
# Without a COMMAND it runs until SIGTERM or Ctrl-C. The exit code is COMMAND's, or the tunnel's if
# the tunnel failed. Run it as root.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tunnel=${PREFIX:-/usr/local}/bin/tunnel

say() { echo "vm.sh: $*" >&2; }

# explain prints what an exit code of the tunnel means for a script. The tunnel itself has printed
# what happened.
explain() {
  case $1 in
    2) say "wrong flags: 'tunnel ${args[0]} --help' lists them" ;;
    3 | 4 | 5) say "the server was not reached; it may be worth another try" ;;
    6) say "something answered, but it did not prove that it is our server" ;;
    7) say "what answered is not our server, or it wants no logins from here for some minutes" ;;
    8) say "the token is missing or not the server's; trying again will not help" ;;
    9) say "no address: all are taken, or the network is in use here" ;;
    10 | 11) say "this machine does not let us make a device or a route" ;;
    12) say "the port is in use" ;;
    *) say "the tunnel ended with code $1" ;;
  esac
}

install_tunnel() {
  cmp -s "$root/bin/tunnel" "$tunnel" || install -D -m 755 "$root/bin/tunnel" "$tunnel"
}

# The arguments before -- are the tunnel's; those after it are COMMAND.
args=()
while (($#)) && [[ $1 != -- ]]; do
  args+=("$1")
  shift
done
command=("${@:2}")

case ${args[0]:-} in
  install | serve | connect) install_tunnel ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
[[ ${args[0]} != install ]] || exit 0

# Its stdout is a pipe: the first line means that it is up, end of file that it has ended.
exec {out}< <(exec "$tunnel" "${args[@]}")
pid=$!

# stop tells the tunnel to end, waits until it has undone everything, and returns its exit code.
stop() {
  kill "$pid" 2>/dev/null || true
  wait "$pid"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

code=0
if ! read -r -t 60 line <&"$out"; then
  code=1 # unless the tunnel has ended with a code of its own
elif ((${#command[@]})); then
  say "$line"
  # such as the first token of a server, which is shown this once
  while read -r line; do say "$line"; done <&"$out" &
  lines=$!
  "${command[@]}" || code=$?
else
  trap 'kill "$pid"' INT TERM # here they are the normal end
  say "$line"
  while read -r line <&"$out"; do say "$line"; done
fi

trap - EXIT
ended=0
stop || ended=$?
wait ${lines:+"$lines"} || true
if ((ended)); then
  explain "$ended"
  exit "$ended"
fi
exit "$code"
