// Package failure turns errors into the one line and the exit code that a user gets: the step that
// failed, what failed, what to do.
package failure

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/config/setting"
	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/privsep"
	"tunnel/route"
	"tunnel/state"
	"tunnel/sysctl"
	"tunnel/transport"
	"tunnel/tun"
)

// A Step is where a run failed; each has its own exit code.
type Step string

// The steps.
const (
	StepInternal Step = "internal"
	StepUsage    Step = "usage"
	StepDevice   Step = "device"
	StepRoute    Step = "route"
	StepListen   Step = "listen"
	StepState    Step = "state"
	StepOutput   Step = "output"
	StepFirewall Step = "firewall"
	StepConfirm  Step = "confirm"
	StepDNS      Step = "dns"
	StepStatus   Step = "status"
	StepDoctor   Step = "doctor"
	StepReload   Step = "reload"

	StepName    = Step(transport.StepName)
	StepTCP     = Step(transport.StepTCP)
	StepProxy   = Step(transport.StepProxy)
	StepTLS     = Step(transport.StepTLS)
	StepHTTP    = Step(transport.StepHTTP)
	StepAuth    = Step(transport.StepAuth)
	StepAddress = Step(transport.StepAddress)
)

// An Exit is an exit code: its step, and its meaning.
type Exit struct {
	Step Step
	What string
}

// Exits returns the exit codes from 1 on, in order.
func Exits() []Exit {
	return []Exit{
		{StepInternal, "a defect of this program"},
		{StepUsage, "flags, arguments, environment"},
		{StepName, "the server's name does not resolve"},
		{StepTCP, "no TCP connection to the server"},
		{StepProxy, "the proxy refuses"},
		{StepTLS, "the TLS handshake or a certificate"},
		{StepHTTP, "the answer is not that of a tunnel server"},
		{StepAuth, "the token is refused"},
		{StepAddress, "no free address, too many sessions, or a network that is not accepted"},
		{StepDevice, "the TUN device: name, driver, privileges"},
		{StepRoute, "an ip command failed, or ip is missing, too old or BusyBox's"},
		{StepListen, "the port is in use or not allowed, or the address does not exist"},
		{StepState, "the state or journal directory, or the audit log"},
		{StepOutput, "stdout cannot be written: a full disk"},
		{StepFirewall, "the firewall: nft is missing, or refuses"},
		{StepConfirm, "not confirmed within --confirm: everything is undone"},
		{StepDNS, "the server's DNS of --accept-dns cannot be set"},
		{StepStatus, "no client or server runs here that this user may ask"},
		{StepDoctor, "`tunnel doctor` has found what keeps the tunnel from working"},
		{StepReload, "`tunnel reload` has applied what it could; the rest needs a restart, or failed"},
	}
}

// ExitCode returns the exit code of the step, 1 for an unknown step.
func (s Step) ExitCode() int {
	for i, e := range Exits() {
		if e.Step == s {
			return i + 1
		}
	}
	return 1
}

// DoneText explains exit code 0.
const DoneText = "done, also after SIGINT, SIGTERM and the SIGHUP of a terminal"

// ExitCodes returns the exit codes for a help text.
func ExitCodes() string {
	var b strings.Builder
	fmt.Fprintf(&b, "   %2d  %-9s%s", 0, "", DoneText)
	for i, e := range Exits() {
		fmt.Fprintf(&b, "\n   %2d  %-9s%s", i+1, e.Step, e.What)
	}
	return b.String()
}

// A Failure is an error that is one line for the user: the step, what failed, what to do.
type Failure struct {
	Step   Step
	Err    error
	Advice string
}

func (f *Failure) Error() string {
	text := string(f.Step) + ": " + f.Err.Error()
	if f.Advice != "" {
		text += ": " + f.Advice
	}
	return strings.Join(strings.Fields(text), " ")
}

func (f *Failure) Unwrap() error { return f.Err }

// AdviceAttr returns the attribute of a log line with the advice, nothing if there is none.
func (f *Failure) AdviceAttr() []any {
	if f.Advice == "" {
		return nil
	}
	return []any{"advice", f.Advice}
}

// New returns a Failure.
func New(s Step, err error, advice string) error { return &Failure{s, err, advice} }

// Usage returns the Failure of a wrong call of the program.
func Usage(format string, args ...any) error {
	return &Failure{Step: StepUsage, Err: fmt.Errorf(format, args...)}
}

// Of returns the step and the advice for any error.
func Of(err error) *Failure {
	f := explain(err)
	advice := resource(err)
	switch {
	case advice == "" || f.Advice != "":
		return f
	case f.Step == StepInternal: // the limits at the start of the program
		return &Failure{StepUsage, f.Err, advice}
	}
	return &Failure{f.Step, f.Err, advice}
}

// explain is Of without exhausted resources.
func explain(err error) *Failure {
	var f *Failure
	var help cli.ExitCoder // of urfave/cli's own command `help`
	var dial *transport.StepError
	var command *cmdrun.Error
	var remote *privsep.Failure // from a worker's parent
	var notes *journal.Error
	var parameter *sysctl.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, new(setting.Errors)):
		return &Failure{Step: StepUsage, Err: err}
	case errors.As(err, &dial):
		return &Failure{Step(dial.Step), dial.Err, hint(dial)}
	case errors.As(err, &remote):
		return &Failure{Step(remote.Step), err, remote.Advice}
	case errors.Is(err, route.ErrPublic):
		return &Failure{StepAddress, err, "have root run it"}
	case errors.Is(err, route.ErrOverlap):
		return &Failure{StepAddress, err,
			"choose another --network on the server, or end the other client whose route that is"}
	case errors.Is(err, route.ErrNotUsed):
		return &Failure{StepRoute, err, "see `ip rule` and `ip route show table all`"}
	case errors.Is(err, route.ErrNoRoute):
		return &Failure{StepTCP, err, "check this machine's network: `ip route`"}
	case errors.Is(err, journal.ErrBusy), errors.Is(err, tun.ErrTaken):
		return &Failure{StepDevice, err, "choose another with --dev, or end the run that uses it"}
	case errors.Is(err, host.ErrContested):
		return &Failure{StepDevice, err,
			"find the cause (a network manager, a script), exclude the device from it, and start " +
				"again"}
	case errors.Is(err, tun.ErrGone), errors.Is(err, host.ErrGone):
		return &Failure{StepDevice, err, "something else on this machine deleted it: start again"}
	case errors.Is(err, tun.ErrName):
		return &Failure{StepUsage, err, "choose another --dev"}
	case errors.Is(err, tun.ErrNoTun):
		return &Failure{StepDevice, err, "run `modprobe tun`; in Docker add --device /dev/net/tun"}
	case errors.Is(err, tun.ErrPermission):
		return &Failure{StepDevice, err,
			"run as root, or `setcap cap_net_admin+ep` the program; in Docker add --cap-add " +
				"NET_ADMIN"}
	case errors.Is(err, lease.ErrNetwork):
		return &Failure{StepUsage, err, "choose another --network"}
	case errors.Is(err, state.ErrLocked):
		return &Failure{StepState, err, "end the other, or give each its own --state"}
	case errors.Is(err, state.ErrDamaged):
		return &Failure{StepState, err,
			"put a copy of the file in its place, or move it away and start anew: all tokens and " +
				"addresses are then new"}
	case errors.Is(err, client.ErrNotStored):
		return &Failure{StepState, err,
			"make room on its disk, or give a directory of its own with --state"}
	case errors.Is(err, state.ErrFull):
		return &Failure{StepState, err, "make room on it, or give another --state"}
	case errors.Is(err, firewall.ErrDiffers):
		return &Failure{StepFirewall, err, "something else on this machine changes it, or this nft " +
			"is too new or too old: see `nft list ruleset`"}
	case errors.As(err, new(*firewall.TakenError)), errors.Is(err, firewall.ErrRules):
		return &Failure{Step: StepFirewall, Err: err}
	case errors.As(err, &parameter):
		return &Failure{StepFirewall, err, parameter.Advice()}
	case errors.Is(err, dns.ErrNotAll):
		return &Failure{StepDNS, err, "have the server resolve all names with --accept-dns"}
	case errors.Is(err, dns.ErrBusy):
		return &Failure{StepDNS, err, "end that run, or leave --accept-dns to it"}
	case errors.Is(err, dns.ErrNotSet), errors.Is(err, dns.ErrConfig):
		return &Failure{StepDNS, err,
			"see `resolvectl status` or what else writes /etc/resolv.conf; --accept-dns needs " +
				"that file to be writable"}
	case errors.As(err, &notes):
		return &Failure{StepState, err, notes.Advice}
	case errors.As(err, &command) && command.Command.Program == "nft":
		return &Failure{StepFirewall, err, adviceOnNft(err)}
	case errors.As(err, &command):
		if errors.Is(err, os.ErrPermission) {
			return &Failure{StepRoute, err, "CAP_NET_ADMIN is needed"}
		}
		return &Failure{Step: StepRoute, Err: err}
	case errors.As(err, &help): // last, because *exec.ExitError implements it too
		return &Failure{StepUsage, err, "see `tunnel --help`"}
	}
	return &Failure{Step: StepInternal, Err: err}
}

// adviceOnNft returns what to do when nft(8) fails.
func adviceOnNft(err error) string {
	switch {
	case cmdrun.IsMissing(err): // the error says what to install
		return ""
	case errors.Is(err, os.ErrPermission):
		return "CAP_NET_ADMIN is needed"
	}
	return "the kernel needs nftables with the family inet, conntrack, connlimit, NAT, fib and " +
		"reject: see `nft list ruleset`"
}
