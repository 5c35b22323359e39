// Package contender has what the benchmarks compare: this program, other VPNs, and their bounds.
package contender

import (
	"context"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// Contender connects two hosts, by a tunnel or without one.
type Contender interface {
	// Name returns the name in flags and tables.
	Name() string
	// Prepare builds, installs or finds what Start needs, and returns its version. The error says
	// why the contender cannot run.
	Prepare(ctx context.Context, shop *Workshop) (version string, err error)
	// Start connects two hosts that have a link, until the end of t. It returns when packets pass.
	Start(t *scope.Scope, shop *Workshop, p Pair) Ends
}

// Ends are the addresses of a pair's hosts by which traffic goes through a contender.
type Ends struct {
	Server, client string
	// OuterUDP reports whether the tunnel itself uses UDP, whose datagrams the kernel counts too.
	OuterUDP bool
}

// Names of contenders that figures and targets refer to.
const (
	NameNone      = "none"
	NameLimit     = "limit"
	NameWS        = "ws"
	NameWSS       = "wss"
	NameWireguard = "wireguard-go"
	NameWSVPNWS   = "wsvpn-ws"
	NameWSVPNWSS  = "wsvpn-wss"
)

// Contenders returns all contenders, in the order of tables and rounds. other is the file of
// another build of this program, and wsvpnFile that of a wsvpn; both may be "".
func Contenders(other, wsvpnFile string) []Contender {
	own := []Contender{&Tunnel{}, &Tunnel{Secure: true}}
	if other != "" {
		own = append(own, &Tunnel{other: other}, &Tunnel{other: other, Secure: true})
	}
	return append(append([]Contender{bare{}, &limit{}}, own...),
		&wireguard{},
		&wsvpn{prebuilt: wsvpnFile},
		&wsvpn{prebuilt: wsvpnFile, secure: true},
		&openvpn{proto: "udp"},
		&openvpn{proto: "tcp"},
		&openconnect{dtls: true},
		&openconnect{},
	)
}

// Names returns the names of contenders.
func Names(all []Contender) []string {
	var list []string
	for _, c := range all {
		list = append(list, c.Name())
	}
	return list
}

// Label returns the label of a contender in tables and plots.
func Label(name string) string {
	switch name {
	case NameNone:
		return "no tunnel"
	case NameWS, NameWSS:
		return "tunnel " + name + "://"
	}
	return name
}

// AwaitPing waits until an address answers a host's ping.
func AwaitPing(t *scope.Scope, from *lab.Host, addr string) {
	deadline := time.Now().Add(scope.Soon)
	for {
		out, stderr, code := from.Try("ping", "-n", "-c1", "-W1", addr)
		if code == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer within %v: %s%s", addr, scope.Soon, out, stderr)
		}
		t.Sleep(50 * time.Millisecond)
	}
}

// address sets a device's point-to-point address and MTU, and sets it up.
func address(h *lab.Host, dev, local, peer, mtu string) {
	h.Run("ip", "addr", "add", local, "peer", peer, "dev", dev)
	h.Run("ip", "link", "set", "dev", dev, "up", "mtu", mtu)
}
