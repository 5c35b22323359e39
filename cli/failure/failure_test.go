package failure

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/dns"
	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/route"
	"tunnel/state"
	"tunnel/transport"
	"tunnel/tun"
)

// The exit codes are a promise to scripts.
func TestExitCodes(t *testing.T) {
	for code, name := range strings.Fields(
		"done internal usage name tcp proxy tls http auth address device route listen state output " +
			"firewall confirm dns status doctor") {
		if got := Step(name).ExitCode(); code > 0 && got != code {
			t.Errorf("%s exits with %d; want %d", name, got, code)
		}
	}
	if got := Step("unheard of").ExitCode(); got != 1 {
		t.Errorf("an unknown step exits with %d", got)
	}
}

// Errors of all packages become one line with a step and advice, however they are wrapped.
func TestAsFailure(t *testing.T) {
	command := ipcmd.LinkUp("tun0", 1400, 100)
	for _, test := range []struct {
		err  error
		want string
	}{
		{io.ErrUnexpectedEOF, "internal: unexpected EOF"},
		{Usage("--x %d is bad", 1), "usage: --x 1 is bad"},
		{New(StepState, errors.New("a\nb\t c"), "do\nthis"), "state: a b c: do this"},
		{&transport.StepError{Step: transport.StepTLS, Err: errors.New("expired"), Advice: "renew"},
			"tls: expired: renew"},
		{&transport.StepError{Step: transport.StepAddress, Err: errors.New("full"), Advice: "wait"},
			"address: full: wait"},
		{&route.OverlapError{Entry: "the route 10.0.0.0/8 dev eth0"},
			"address: invalid Prefix overlaps the route 10.0.0.0/8 dev eth0: choose another " +
				"--network"},
		{route.ErrNoRoute, "tcp: no route: check"},
		{fmt.Errorf("%w: exit code 1", dns.ErrNotSet),
			"dns: the tunnel's DNS servers cannot be set: exit code 1: see `resolvectl status`"},
		{fmt.Errorf("%w: the domain com is everybody's", dns.ErrNotAll),
			"dns: the DNS of all names was not accepted: the domain com is everybody's: have the " +
				"server resolve all names with --accept-dns"},
		{&journal.BusyError{Dev: "tun0", PID: 7},
			"device: device tun0 is in use by another run of tunnel (pid 7): choose another with " +
				"--dev"},
		{fmt.Errorf("%w: tun0", tun.ErrGone),
			"device: the device is gone: tun0: something else on this machine deleted it: start " +
				"again"},
		{fmt.Errorf("%w: tun0", tun.ErrTaken),
			"device: a device of this name exists already: tun0: choose another with --dev"},
		{fmt.Errorf("%w: x y", tun.ErrName), "usage: not a device name: x y: choose another --dev"},
		{tun.ErrNoTun,
			"device: no TUN driver: /dev/net/tun is missing: run `modprobe tun`; in Docker"},
		{tun.ErrPermission, "device: not permitted: CAP_NET_ADMIN is needed: run as root"},
		{&journal.Error{Err: fmt.Errorf("note x in the journal: %w", unix.ENOSPC)},
			"state: note x in the journal: no space left on device: make room"},
		{&journal.Error{Err: unix.EIO}, "state: input/output error"},
		{fmt.Errorf("make a socket pair: %w", unix.EMFILE),
			"usage: make a socket pair: too many open files: raise the limit"},
		{&cmdrun.Error{Command: command, ExitCode: -2, Err: unix.EMFILE},
			"route: ip link set dev tun0 up mtu 1400 qlen 100: too many open files: raise the " +
				"limit"},
		{lease.ErrNetwork, "usage: unusable network: choose another --network"},
		{state.ErrLocked, "state: another server uses this state directory: end the other"},
		{&journal.Error{Err: unix.ENOSPC, Advice: "make room"},
			"state: no space left on device: make room"},
		{&cmdrun.Error{Command: command, ExitCode: 1, Err: &ipcmd.UnsuitableError{}},
			"route: ip link set dev tun0 up mtu 1400 qlen 100: the program ip is not that of " +
				"iproute2, which does not know this command: install the package iproute2"},
		{&cmdrun.Error{Command: command, ExitCode: -2, Err: exec.ErrNotFound},
			"route: ip link set dev tun0 up mtu 1400 qlen 100: ip is not in PATH: install " +
				"iproute2"},
		{
			&cmdrun.Error{Command: command, ExitCode: 2,
				Stderr: "RTNETLINK answers: Operation not permitted", Err: &exec.ExitError{}},
			"route: ip link set dev tun0 up mtu 1400 qlen 100: RTNETLINK answers: Operation not " +
				"permitted (exit code 2): CAP_NET_ADMIN is needed",
		},
		{
			&cmdrun.Error{Command: command, ExitCode: 2, Stderr: "RTNETLINK answers:\nout of order",
				Err: &exec.ExitError{}},
			"route: ip link set dev tun0 up mtu 1400 qlen 100: RTNETLINK answers: out of order " +
				"(exit code 2)",
		},
	} {
		for _, err := range []error{test.err, fmt.Errorf("wrapped: %w", test.err),
			errors.Join(test.err, nil)} {
			f := Of(err)
			got, ours := f.Error(), strings.Replace(test.want, ": ", ": wrapped: ", 1)
			if !strings.HasPrefix(got, test.want) && !strings.HasPrefix(got, ours) ||
				strings.Contains(got, "\n") {
				t.Errorf("%v becomes\n%s\nwant\n%s", err, got, test.want)
			}
			var dial *transport.StepError // whose cause the failure takes over
			if !errors.Is(f, test.err) && !errors.Is(test.err, f) && !errors.As(test.err, &dial) {
				t.Errorf("%v is lost", test.err)
			}
		}
	}
}
