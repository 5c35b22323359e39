package main

import (
	"context"
	"time"

	"tunnel/e2e/lab"
)

// contender is one way for two hosts to reach each other.
type contender interface {
	// name is what flags and tables call it.
	name() string
	// prepare builds, installs or finds what start needs, and returns the version. The error says why it cannot run.
	prepare(ctx context.Context, shop *workshop) (version string, err error)
	// start joins two hosts that reach each other already, and returns when packets pass. It ends with t.
	start(t *scope, shop *workshop, p pair) ends
}

// ends is what a contender has made of a pair: the addresses by which traffic goes through it.
type ends struct {
	server, client string
	// outerUDP says that packets travel in UDP datagrams, which the receiver's kernel counts too.
	outerUDP bool
}

// Names of contenders that figures and targets refer to.
const (
	nameNone      = "none"
	nameLimit     = "limit"
	nameWS        = "ws"
	nameWSS       = "wss"
	nameWireguard = "wireguard-go"
	nameWSVPNWS   = "wsvpn-ws"
	nameWSVPNWSS  = "wsvpn-wss"
)

// contenders returns all of them, in the order of tables and rounds. other is the file of another
// build of the program, and wsvpnFile that of a wsvpn; both may be "".
func contenders(other, wsvpnFile string) []contender {
	own := []contender{&tunnel{}, &tunnel{secure: true}}
	if other != "" {
		own = append(own, &tunnel{other: other}, &tunnel{other: other, secure: true})
	}
	return append(append([]contender{bare{}, &limit{}}, own...),
		&wireguard{},
		&wsvpn{prebuilt: wsvpnFile},
		&wsvpn{prebuilt: wsvpnFile, secure: true},
		&openvpn{proto: "udp"},
		&openvpn{proto: "tcp"},
		&openconnect{dtls: true},
		&openconnect{},
	)
}

func names(all []contender) []string {
	var list []string
	for _, c := range all {
		list = append(list, c.name())
	}
	return list
}

// label is what tables and plots call a contender.
func label(name string) string {
	switch name {
	case nameNone:
		return "no tunnel"
	case nameWS, nameWSS:
		return "tunnel " + name + "://"
	}
	return name
}

// awaitPing waits until an address answers from a host.
func awaitPing(t *scope, from *lab.Host, addr string) {
	deadline := time.Now().Add(soon)
	for {
		out, stderr, code := from.Try("ping", "-n", "-c1", "-W1", addr)
		if code == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer within %v: %s%s", addr, soon, out, stderr)
		}
		t.sleep(50 * time.Millisecond)
	}
}

// address gives a device a point-to-point address and takes it up.
func address(h *lab.Host, dev, local, peer, mtu string) {
	h.Run("ip", "addr", "add", local, "peer", peer, "dev", dev)
	h.Run("ip", "link", "set", "dev", dev, "up", "mtu", mtu)
}
