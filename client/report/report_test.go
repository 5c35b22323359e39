package report

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"tunnel/admin/status"
	"tunnel/dns"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// idle returns a Recorder of a client without a connection.
func idle() *Recorder {
	r := New(status.Client{Dev: "tun0", KillSwitch: true})
	queue, drops := fq.NewSubflows(fq.PeerLimit), new(policy.Drops)
	drops.Count(policy.Foreign, 3)
	r.Begin(func() Live {
		return Live{Past: status.Traffic{Bytes: status.Bytes{Sent: 7, Received: 5}},
			Queue: queue, Drops: drops}
	})
	return r
}

func TestStates(t *testing.T) {
	r := idle()
	if now := r.Status(); now.State != status.Connecting || now.Reason != "" || !now.KillSwitch ||
		now.Sent != 7 || now.Drops["foreign"] != 3 || now.Connections == nil ||
		now.Routes.Taken == nil || now.DNS.Servers == nil || now.Since.IsZero() {
		t.Errorf("at the start: %+v", now)
	}
	r.Waits(errors.New("no route"))
	if now := r.Status(); now.Reason != "no route" || now.Lost != 0 {
		t.Errorf("after an attempt: %+v", now)
	}
	pushed := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	r.Connected(transport.Link{Address: netip.MustParseAddr("10.1.1.3"), MTU: 1400})
	r.Routes(pushed, nil)
	r.Names(dns.Config{Servers: []netip.Addr{netip.MustParseAddr("10.1.1.1")}}, nil)
	if now := r.Status(); now.State != status.Connected || now.Reason != "" || now.MTU != 1400 ||
		len(now.Routes.Taken) != 1 || len(now.DNS.Servers) != 1 {
		t.Errorf("connected: %+v", now)
	}
	r.Names(dns.Config{}, errors.New("no resolver"))
	r.Lost(errors.New("it hung up"))
	if now := r.Status(); now.State != status.Connecting || now.Reason != "it hung up" ||
		now.Lost != 1 || len(now.Routes.Taken) != 1 || now.DNS.Problem != "no resolver" {
		t.Errorf("after a session: %+v", now)
	}
	r.Down()
	if now := r.Status(); len(now.Routes.Taken) != 0 || now.DNS.Problem != "" {
		t.Errorf("without addresses: %+v", now)
	}
}

// A server that sends the client's token back as its reason does not get it shown.
func TestNoToken(t *testing.T) {
	r, secret := idle(), strings.Repeat("a", 52)
	bad := errors.New("bye, tnl_abcdefghij_" + secret + " of mine")
	r.Lost(bad)
	r.Names(dns.Config{}, bad)
	for _, text := range []string{r.Status().Reason, r.Status().DNS.Problem} {
		if text != "bye, tnl_… of mine" {
			t.Errorf("%q", text)
		}
	}
	if r.Waits(bad); strings.Contains(r.Status().Reason, secret) {
		t.Error(r.Status().Reason)
	}
}
