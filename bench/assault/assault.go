// Package assault runs the attack on a server by clients without a token, for benchmarks.
package assault

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"tunnel/bench/contender"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// The attack on a server by clients without a token.
const (
	SilentRate    = 1000 // silent connections a second, from silentSources
	silentSources = 6    // /64s of one IPv6 host
	HelloRate     = 3800 // replayed ClientHellos a second, from one IPv4 address
	// programs that share HelloRate: the scheduler shares time by session, and one gets too little
	helloPrograms = 4
	RateReached   = 0.9 // the least part of these rates with which a run counts
	attackServer  = "2001:db8:ffff::1"
	attackSource  = "198.51.100.200"
)

// Attackers are a host that can begin both attacks at once.
type Attackers struct {
	Host    *lab.Host
	Program string   // file with hostile.Main
	silent  []string // sources
}

// New prepares the attacks from a host on a server.
func New(s *scope.Scope, server, from *lab.Host) Attackers {
	server.Run("ip", "-6", "addr", "add", attackServer+"/64", "dev", "eth0", "nodad")
	server.Run("ip", "-6", "route", "add", "2001:db8:a::/48", "dev", "eth0")
	from.Run("ip", "-6", "route", "add", attackServer+"/128", "dev", "eth0")
	from.Run("ip", "addr", "add", attackSource+contender.ClientMask, "dev", "eth0")
	a := Attackers{Host: from}
	var err error
	a.Program, err = os.Executable()
	s.Must(err)
	for i := range silentSources {
		addr := fmt.Sprintf("2001:db8:a:%x::1", i+1)
		from.Run("ip", "-6", "addr", "add", addr+"/64", "dev", "eth0", "nodad")
		a.silent = append(a.silent, addr)
	}
	return a
}

// Begin begins both attacks on a port of the server.
func (a Attackers) Begin(port string) Assault {
	start := func(kind, address string, rate int, sources ...string) *lab.Proc {
		p := a.Host.Start(a.Program, hostile.Command, "-kind", kind, "-target",
			net.JoinHostPort(address, port), "-rate", strconv.Itoa(rate), "-from",
			strings.Join(sources, ","))
		p.WaitFor("opened ", scope.Soon)
		return p
	}
	x := Assault{silent: start(hostile.Silent, attackServer, SilentRate, a.silent...)}
	for range helloPrograms {
		x.hello = append(x.hello, start(hostile.Hello, contender.ServerAddr,
			HelloRate/helloPrograms, attackSource))
	}
	return x
}

// Assault is both attacks while they run.
type Assault struct {
	silent *lab.Proc
	hello  []*lab.Proc
}

// Opened returns how many connections each attack has opened.
func (x Assault) Opened() (silent, hello int) {
	for _, p := range x.hello {
		hello += hostile.Opened(p.Stdout())
	}
	return hostile.Opened(x.silent.Stdout()), hello
}

// End ends both attacks, and prints what the attackers counted.
func (x Assault) End(say func(string, ...any)) {
	for _, p := range append(x.hello, x.silent) {
		lines := strings.Split(strings.TrimSpace(p.Stdout()), "\n")
		say("attacker: %s", lines[len(lines)-1])
		contender.Stop(p)
	}
}

// CheckRates fails if the attacks, by their rates a second, were too slow to count.
func CheckRates(s *scope.Scope, silent, hello float64) {
	if silent < RateReached*SilentRate || hello < RateReached*HelloRate {
		s.Fatalf("the attack was too slow: %s silent connections and %s ClientHellos a second; "+
			"want %d and %d", report.Short(silent), report.Short(hello), SilentRate, HelloRate)
	}
}
