package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/config"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/privsep"
	"tunnel/route"
	"tunnel/state"
	"tunnel/transport"
	"tunnel/tun"
)

// A step is where a run failed; each has an exit code of its own.
type step string

const (
	stepInternal step = "internal"
	stepUsage    step = "usage"
	stepDevice   step = "device"
	stepRoute    step = "route"
	stepListen   step = "listen"
	stepState    step = "state"
	stepOutput   step = "output"

	stepName    = step(transport.StepName)
	stepTCP     = step(transport.StepTCP)
	stepProxy   = step(transport.StepProxy)
	stepTLS     = step(transport.StepTLS)
	stepHTTP    = step(transport.StepHTTP)
	stepAuth    = step(transport.StepAuth)
	stepAddress = step(transport.StepAddress)
)

// exits is the list of exit codes from 1 on.
func exits() []struct {
	step step
	what string
} {
	return []struct {
		step step
		what string
	}{
		{stepInternal, "a defect of this program"},
		{stepUsage, "flags, arguments, environment"},
		{stepName, "the server's name does not resolve"},
		{stepTCP, "no TCP connection to the server"},
		{stepProxy, "the proxy on the way refuses"},
		{stepTLS, "the TLS handshake or a certificate"},
		{stepHTTP, "what answers is not a tunnel server"},
		{stepAuth, "the token is refused"},
		{stepAddress, "no free address, too many sessions, or a network that is not accepted"},
		{stepDevice, "the TUN device: name, driver, privileges"},
		{stepRoute, "an ip command failed, or ip is missing, too old or too small"},
		{stepListen, "the port is in use or not allowed, or the address is not there"},
		{stepState, "the state or journal directory"},
		{stepOutput, "stdout takes nothing: a full disk"},
	}
}

func (s step) exitCode() int {
	for i, e := range exits() {
		if e.step == s {
			return i + 1
		}
	}
	return 1
}

// doneText explains exit code 0.
const doneText = "done, also after SIGINT, SIGTERM and SIGHUP"

func exitCodes() string {
	var b strings.Builder
	fmt.Fprintf(&b, "   %2d  %-9s%s", 0, "", doneText)
	for i, e := range exits() {
		fmt.Fprintf(&b, "\n   %2d  %-9s%s", i+1, e.step, e.what)
	}
	return b.String()
}

// failure is an error that is one line for a person: where it failed, what failed, what to do.
type failure struct {
	step   step
	err    error
	advice string
}

func (f *failure) Error() string {
	text := string(f.step) + ": " + f.err.Error()
	if f.advice != "" {
		text += ": " + f.advice
	}
	return strings.Join(strings.Fields(text), " ")
}

func (f *failure) Unwrap() error { return f.err }

func fail(s step, err error, advice string) error { return &failure{s, err, advice} }

// usage is the failure of somebody who calls the program wrongly.
func usage(format string, args ...any) error {
	return &failure{step: stepUsage, err: fmt.Errorf(format, args...)}
}

// usageError is urfave/cli's hook for flags that it cannot parse.
func usageError(c *cli.Context, err error, _ bool) error {
	help := "tunnel --help"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != c.App.Name {
		help = c.Command.HelpName + " --help"
	}
	advice := "see `" + help + "`"
	if name, ok := strings.CutPrefix(err.Error(), unknownFlag); ok && c.Command != nil {
		var names []string
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()...)
		}
		advice += didYouMean("--", name, names)
	}
	return fail(stepUsage, err, advice)
}

// unknownFlag begins package flag's error for a flag that does not exist; its name follows.
const unknownFlag = "flag provided but not defined: -"

// noCommand is the failure of somebody who mistypes a command; before is what leads to it.
func noCommand(c *cli.Context, before string) error {
	typed := c.Args().First()
	var names []string
	for _, command := range c.Command.Subcommands {
		names = append(names, command.Name)
	}
	return fail(stepUsage, fmt.Errorf("there is no command %q", before+typed),
		"see `tunnel "+before+"--help`"+didYouMean("tunnel "+before, typed, names))
}

// didYouMean names the nearest to what was typed, for the end of a sentence; "" if nothing is near.
func didYouMean(before, typed string, names []string) string {
	if name := config.Nearest(typed, names); name != "" {
		return "; did you mean `" + before + name + "`?"
	}
	return ""
}

// asFailure finds the step and the advice for an error from anywhere.
func asFailure(err error) *failure {
	f := explain(err)
	advice := resource(err)
	switch {
	case advice == "" || f.advice != "":
		return f
	case f.step == stepInternal: // the limits that it was started with
		return &failure{stepUsage, f.err, advice}
	}
	return &failure{f.step, f.err, advice}
}

// explain is asFailure for what is not used up.
func explain(err error) *failure {
	var f *failure
	var help cli.ExitCoder // of urfave/cli's own command `help`
	var dial *transport.StepError
	var command *cmdrun.Error
	var remote *privsep.Failure // of a worker's parent
	var notes *journal.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &dial):
		return &failure{step(dial.Step), dial.Err, hint(dial)}
	case errors.As(err, &remote):
		return &failure{step(remote.Step), err, remote.Advice}
	case errors.Is(err, route.ErrPublic):
		return &failure{stepAddress, err, "have root run it"}
	case errors.Is(err, route.ErrOverlap):
		return &failure{stepAddress, err, "choose another --network on the server"}
	case errors.Is(err, host.ErrNotUsed):
		return &failure{stepRoute, err, "see `ip rule` and `ip route show table all`"}
	case errors.Is(err, route.ErrNoRoute):
		return &failure{stepTCP, err, "check this machine's network: `ip route`"}
	case errors.Is(err, journal.ErrBusy), errors.Is(err, tun.ErrTaken):
		return &failure{stepDevice, err, "choose another with --dev, or end what uses it"}
	case errors.Is(err, host.ErrContested):
		return &failure{stepDevice, err, "find what does it (a network manager, a script), have it leave the device alone, and start again"}
	case errors.Is(err, tun.ErrGone), errors.Is(err, host.ErrGone):
		return &failure{stepDevice, err, "something else on this machine deleted it: start again"}
	case errors.Is(err, tun.ErrName):
		return &failure{stepUsage, err, "choose another --dev"}
	case errors.Is(err, tun.ErrNoTun):
		return &failure{stepDevice, err, "run `modprobe tun`; in Docker add --device /dev/net/tun"}
	case errors.Is(err, tun.ErrPermission):
		return &failure{stepDevice, err, "run as root, or `setcap cap_net_admin+ep` the program; in Docker add --cap-add NET_ADMIN"}
	case errors.Is(err, lease.ErrNetwork):
		return &failure{stepUsage, err, "choose another --network"}
	case errors.Is(err, state.ErrLocked):
		return &failure{stepState, err, "end the other, or give each its own --state"}
	case errors.Is(err, state.ErrDamaged):
		return &failure{stepState, err, "put a copy of the file in its place, or move it away and start anew: all tokens and addresses are then new"}
	case errors.Is(err, client.ErrNotStored):
		return &failure{stepState, err, "make room on its disk, or give a directory of its own with --state"}
	case errors.Is(err, state.ErrFull):
		return &failure{stepState, err, "make room on it, or give another --state"}
	case errors.As(err, &notes):
		return &failure{stepState, err, notes.Advice}
	case errors.As(err, &command):
		if errors.Is(err, os.ErrPermission) {
			return &failure{stepRoute, err, "CAP_NET_ADMIN is needed"}
		}
		return &failure{step: stepRoute, err: err}
	case errors.As(err, &help): // last, for an *exec.ExitError looks the same
		return &failure{stepUsage, err, "see `tunnel --help`"}
	}
	return &failure{step: stepInternal, err: err}
}
