#!/usr/bin/env bash
# vm.sh - runs the tunnel from a shell script, as one does on a virtual machine.
#
#   vm.sh install                                  install bin/tunnel as $PREFIX/bin/tunnel; PREFIX is /usr/local
#   vm.sh serve FLAGS... [-- COMMAND...]           install it, serve, run COMMAND once it listens, stop
#   vm.sh connect URL FLAGS... [-- COMMAND...]     install it, connect, run COMMAND once it is up, stop
#
# For example: TUNNEL_TOKEN=... vm.sh connect wss://hub.example -- curl -sS http://10.1.1.1/
#
# Without a COMMAND it stays until it is told to stop by SIGTERM or Ctrl-C. The exit code is that of
# COMMAND, or that of the tunnel when the tunnel failed. Run it as root.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tunnel=${PREFIX:-/usr/local}/bin/tunnel

say() { echo "vm.sh: $*" >&2; }

# explain says what an exit code of the tunnel means to a script. What happened is in the line that
# the tunnel wrote.
explain() {
  case $1 in
    2) say "wrong flags: 'tunnel ${args[0]} --help' lists them" ;;
    3 | 4 | 5) say "the server was not reached; it may be worth another try" ;;
    6 | 7) say "something answered, but not our server" ;;
    8) say "the token is not the server's; trying again will not help" ;;
    9) say "no address: all are taken, or the network is in use here" ;;
    10 | 11) say "this machine does not let us make a device or a route" ;;
    12) say "the port is in use" ;;
    *) say "the tunnel ended with code $1" ;;
  esac
}

install_tunnel() {
  cmp -s "$root/bin/tunnel" "$tunnel" || install -D -m 755 "$root/bin/tunnel" "$tunnel"
}

# Everything before -- is the tunnel's, everything after it is the command.
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

# Its stdout is a pipe: the first line says that it is up, the end of the file that it has ended.
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
  "${command[@]}" || code=$?
else
  trap 'kill "$pid"' INT TERM # here they are the normal end
  say "$line"
  while read -r line <&"$out"; do say "$line"; done
fi

trap - EXIT
ended=0
stop || ended=$?
if ((ended)); then
  explain "$ended"
  exit "$ended"
fi
exit "$code"
