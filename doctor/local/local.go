// Package local examines this machine: what the tunnel needs of it, and what on it is in its way.
// It changes nothing; a TUN device exists for a moment.
package local

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/doctor"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Wants is what the configuration wants of the machine beside a device. What is missing for it is
// a failure, and else a warning at most.
type Wants struct {
	Firewall   bool // rules of nftables
	Forwarding bool // of packets between the tunnel and other interfaces
	AllNames   bool // resolved by the tunnel's DNS servers
	AllTraffic bool // goes into the tunnel
}

// Machine is this machine, in the network namespace of the process.
type Machine struct {
	Run   cmdrun.Runner
	Look  rtnl.Lookup
	State string // the directory of what is kept between runs
	Wants Wants
}

// Check returns what it finds, in a fixed order. It ends early when ctx does.
func (m Machine) Check(ctx context.Context) (all []doctor.Finding) {
	for _, check := range []func(context.Context) []doctor.Finding{
		m.capability, m.device, m.ip, m.nft, m.names, m.reversePath, m.forwarding, m.disk, m.clock,
		m.networkd, m.defaultRoutes, m.leftovers,
	} {
		if ctx.Err() != nil {
			break
		}
		all = append(all, check(ctx)...)
	}
	return all
}

func ok(check, format string, args ...any) []doctor.Finding {
	return []doctor.Finding{{Check: check, Verdict: doctor.OK, Saw: fmt.Sprintf(format, args...)}}
}

// bad returns a finding: a failure if it is needed, else a warning.
func bad(check string, problem doctor.Problem, needed bool, saw, advice string) []doctor.Finding {
	f := doctor.Finding{Check: check, Verdict: doctor.Warn, Problem: problem, Saw: saw,
		Advice: advice}
	if needed {
		f.Verdict = doctor.Fail
	}
	return []doctor.Finding{f}
}

// failed returns the failure of a check because of an error, whose advice the caller knows.
func failed(check string, problem doctor.Problem, err error) []doctor.Finding {
	return []doctor.Finding{{Check: check, Verdict: doctor.Fail, Problem: problem,
		Saw: err.Error(), Err: err}}
}

// unread warns that a check has not been made, because of an error whose advice the caller knows.
func unread(check string, err error) []doctor.Finding {
	return []doctor.Finding{{Check: check, Verdict: doctor.Warn, Problem: doctor.NotReadable,
		Saw: err.Error(), Err: err}}
}

// mayWrite reports whether this process may write to a file or directory.
func mayWrite(path string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write to", Path: path, Err: err}
	}
	return nil
}

// readNumber returns a number in a file of the kernel's, -1 if there is none.
func readNumber(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

// ownDevices returns the devices of live runs in this network namespace, and the journals of those
// that were killed.
func ownDevices() (live []string, killed []journal.Named, err error) {
	dirs, err := journal.Dirs()
	if err != nil {
		return nil, nil, err
	}
	all, err := journal.Beside(dirs, journal.Suffix)
	if err != nil {
		return nil, nil, err
	}
	for _, j := range all {
		held, err := journal.Held(j.Name)
		switch {
		case err != nil:
			return nil, nil, err
		case held:
			live = append(live, j.Dev)
		default:
			killed = append(killed, j)
		}
	}
	return live, killed, nil
}

// A defaultRoute leads all packets, or half of them, to an interface.
type defaultRoute struct {
	to  netip.Prefix
	dev string
}

// defaults returns the default routes of all tables, and those that are the halves of one, as VPNs
// make them. Each interface is there once.
func (m Machine) defaults() (all []defaultRoute, err error) {
	visit := func(r rtnl.Route) bool {
		if r.Dst.Bits() > 1 || r.Type != unix.RTN_UNICAST || r.Table == unix.RT_TABLE_LOCAL {
			return true
		}
		for _, hop := range r.Hops {
			link, failed := m.Look.LinkByIndex(hop.Index)
			if failed != nil || link.Name == "" || slices.ContainsFunc(all,
				func(d defaultRoute) bool { return d.dev == link.Name }) {
				continue
			}
			all = append(all, defaultRoute{r.Dst, link.Name})
		}
		return true
	}
	if err := m.Look.Routes(0, 0, visit); err != nil {
		return nil, err
	}
	return all, m.Look.Routes6(0, visit)
}

// processes returns which of these names, of up to 15 characters, a process in this network
// namespace has.
func processes(names ...string) (running []string) {
	here, _ := os.Readlink("/proc/self/ns/net")    // "" with a kernel without namespaces
	files, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is valid
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may have ended
		name := strings.TrimSpace(string(text))
		if !slices.Contains(names, name) || slices.Contains(running, name) {
			continue
		}
		if there, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns", "net")); there == here {
			running = append(running, name)
		}
	}
	return running
}
