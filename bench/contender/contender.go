// Package contender has the ways for two hosts to reach each other that the benchmarks compare.
package contender

import (
	"context"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// Contender is one way for two hosts to reach each other.
type Contender interface {
	// name is what flags and tables call it.
	Name() string
	// prepare builds, installs or finds what start needs, and returns the version. The error says
	// why it cannot run.
	Prepare(ctx context.Context, shop *Workshop) (version string, err error)
	// start joins two hosts that reach each other already, and returns when packets pass. It ends
	// with t.
	Start(t *scope.Scope, shop *Workshop, p Pair) Ends
}

// Ends is what a contender has made of a pair: the addresses by which traffic goes through it.
type Ends struct {
	Server, client string
	// outerUDP says that packets travel in UDP datagrams, which the receiver's kernel counts too.
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

// Contenders returns all of them, in the order of tables and rounds. other is the file of another
// build of the program, and wsvpnFile that of a wsvpn; both may be "".
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

// Names returns what flags and tables call these contenders.
func Names(all []Contender) []string {
	var list []string
	for _, c := range all {
		list = append(list, c.Name())
	}
	return list
}

// Label is what tables and plots call a contender.
func Label(name string) string {
	switch name {
	case NameNone:
		return "no tunnel"
	case NameWS, NameWSS:
		return "tunnel " + name + "://"
	}
	return name
}

// AwaitPing waits until an address answers from a host.
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

// address gives a device a point-to-point address and takes it up.
func address(h *lab.Host, dev, local, peer, mtu string) {
	h.Run("ip", "addr", "add", local, "peer", peer, "dev", dev)
	h.Run("ip", "link", "set", "dev", dev, "up", "mtu", mtu)
}
