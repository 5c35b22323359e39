package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/certs"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/statedir"
	"tunnel/config/location"
	"tunnel/dns"
	"tunnel/doctor"
	"tunnel/journal"
	"tunnel/privsep/sandbox"
	"tunnel/route"
	"tunnel/rtnl"
)

// checkStart is the name of the check.
const checkStart = "start"

// start examines whether a run of a configuration would begin: what it opens, binds and looks at
// before the first packet. Nothing is changed; an address is bound for a moment.
type start struct{ *invocation.Invocation }

// check returns a finding for each thing that the run would refuse, or that all is there.
func (s start) check(ctx context.Context) (found []doctor.Finding) {
	fail := func(err error) {
		if err != nil {
			f := failure.Of(err)
			found = append(found, doctor.Finding{Check: checkStart, Verdict: doctor.Fail,
				Problem: doctor.NoStart, Saw: f.Err.Error(), Advice: f.Advice})
		}
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		fail(fmt.Errorf("/proc is not mounted: %w", err))
	}
	fail(s.files()) //nolint:contextcheck // a process that is no worker opens them itself
	fail(s.state())
	command := "connect"
	if s.Serve != nil {
		command = "serve"
	}
	if s.runs() {
		return append(found, doctor.Finding{Check: checkStart, Verdict: doctor.OK,
			Saw: fmt.Sprintf("%s: a run with the device %s is here: another needs a --dev of its own",
				command, s.Common.Dev)})
	}
	fail(s.device())
	fail(s.metrics(ctx))
	if s.Serve != nil {
		fail(s.listen(ctx))
		fail(network(nil, s.Serve.Network))
	} else {
		resolvers, _ := dns.Servers() // an error is reported by the check of the resolver
		fail(network(resolvers, s.Connect.Network...))
		usual := netip.MustParsePrefix("10.1.1.0/24")
		if err := network(resolvers, usual); err != nil && len(s.Connect.Network) == 0 {
			found = append(found, doctor.Finding{Check: checkStart, Verdict: doctor.Warn,
				Problem: doctor.NoStart, Saw: failure.Of(err).Err.Error() + ": if the server has its " +
					"default network, a client does not take it", Advice: failure.Of(err).Advice})
		}
	}
	if len(found) == 0 {
		found = []doctor.Finding{{Check: checkStart, Verdict: doctor.OK,
			Saw: command + ": files, user, directories, device, network and addresses are there"}}
	}
	return found
}

// runs reports whether a run has the device already.
func (s start) runs() bool {
	name, err := journal.NameFor(s.Common.Dev)
	if err != nil {
		return false
	}
	held, err := journal.Held(name)
	return err == nil && held
}

// files opens what the configuration names and a client's dialer does not need.
func (s start) files() error {
	log := slog.New(slog.DiscardHandler)
	if s.Serve == nil {
		return nil // dialers.New does
	}
	if _, err := s.Token(); err != nil {
		return err
	}
	if s.Serve.ClientCA != "" {
		open := func(string) (*os.File, error) { return s.OpenInput(invocation.FlagClientCA) }
		if _, err := certs.OpenAuthorities(s.Serve.ClientCA, open, log); err != nil {
			return failure.Usage("--%s: %w", invocation.FlagClientCA, err)
		}
	}
	if _, err := s.CertPool(invocation.FlagACMECA); err != nil || s.Serve.TLSCert == "" {
		return err
	}
	_, err := s.OpenPair(log)
	return err
}

// state examines the user of the run, and the state directory that it would be given.
func (s start) state() error {
	user, err := sandbox.FindUser(s.Common.User)
	if err != nil {
		return failure.Usage("--user: %w", err)
	}
	other := 0
	if s.Common.User == "" {
		other = sandbox.FormerUID(user)
	}
	choice := machine.StateOf(s.Invocation)
	switch {
	case os.Geteuid() != 0 && !choice.Given: // one of its own is made where root's is closed
		return nil
	case os.Geteuid() != 0 || s.Common.NoSandbox:
		user, other = sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}, user.UID
	}
	return statedir.Examine(choice.Dir, user, other)
}

func (s start) device() error {
	link, err := rtnl.Kernel{}.LinkByName(s.Common.Dev)
	if err != nil || link.Name == "" {
		return err
	}
	return failure.New(failure.StepDevice, fmt.Errorf("a device of this name exists already: %s",
		s.Common.Dev), "choose another with --dev, or end the run that uses it")
}

func (s start) metrics(ctx context.Context) error {
	if s.Common.Metrics == "" {
		return nil
	}
	//nolint:contextcheck // it reads /etc/services
	network, address, err := location.ListenAt(s.Common.Metrics)
	switch {
	case err != nil:
		return failure.Usage("--metrics%w", err)
	case network == "tcp":
		return bind(ctx, "metrics", address)
	}
	if info, err := os.Stat(filepath.Dir(address)); err != nil {
		return failure.New(failure.StepListen, fmt.Errorf("%s: %w", s.Common.Metrics, err),
			"choose another --metrics")
	} else if !info.IsDir() {
		return failure.New(failure.StepListen, fmt.Errorf("%s: %w", s.Common.Metrics, unix.ENOTDIR),
			"choose another --metrics")
	}
	return nil
}

func (s start) listen(ctx context.Context) error {
	if s.Serve.Freebind {
		return nil // the address may come later
	}
	return bind(ctx, "listen", s.Serve.Listen)
}

// bind listens at an address for a moment, without accepting anything.
func bind(ctx context.Context, flag, address string) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return ln.Close()
	case errors.Is(err, unix.EACCES) && os.Geteuid() != 0: // it may have more rights when it starts
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return failure.New(failure.StepListen, fmt.Errorf("%s is in use", address), "end what listens "+
			"there, or choose another --"+flag+"; systemd may hold it for tunnel-serve.socket, which is "+
			"right")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return failure.New(failure.StepListen, fmt.Errorf("this machine does not have the address of "+
			"%s", address), "choose another --"+flag)
	}
	return failure.New(failure.StepListen, err, "choose another --"+flag)
}

// network returns why this machine would not take these networks: it has one of them, or a rule
// leads packets to one elsewhere.
func network(resolvers []netip.Addr, networks ...netip.Prefix) error {
	if len(networks) == 0 {
		return nil
	}
	look := rtnl.Kernel{}
	if err := (route.View{Look: look}).Overlap(resolvers, networks...); err != nil {
		return err
	}
	usual := []int{unix.RT_TABLE_MAIN, unix.RT_TABLE_DEFAULT, unix.RT_TABLE_LOCAL, 0}
	for _, n := range networks {
		found, err := look.Resolve(rtnl.Flow{To: n.Addr().Next(), Protocol: unix.IPPROTO_TCP})
		if err == nil && len(found.Hops) > 0 && !slices.Contains(usual, found.Table) && !ours() {
			return failure.New(failure.StepRoute, fmt.Errorf("a rule leads packets to %s to the table "+
				"%d", n, found.Table), "see `ip rule` and `ip route show table all`")
		}
	}
	return nil
}

// ours reports whether a run is here, whose full tunnel has a table of its own.
func ours() bool {
	dirs, err := journal.Dirs()
	if err != nil {
		return true
	}
	all, err := journal.Beside(dirs, journal.Suffix)
	return err != nil || slices.ContainsFunc(all, func(j journal.Named) bool {
		held, err := journal.Held(j.Name)
		return err != nil || held
	})
}
