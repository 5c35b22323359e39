package server_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/server/networks"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// own changes the networks behind the client of a token.
func (h *hub) own(name string, routes ...string) {
	h.t.Helper()
	if _, err := h.Server.SetToken(name, auth.Change{Routes: list(routes...)}); err != nil {
		h.t.Fatal(err)
	}
}

// reaches sends a packet from a client, which must come out of the device.
func (h *hub) reaches(l *listener, id uint32, to string) {
	h.t.Helper()
	l.sends(tuntest.Packet(l.own(), to, id), tuntest.Packet(l.own(), "10.1.1.1", 1000+id))
	if got := tuntest.IDOf(h.Device.Gets(h.t)); got != id {
		h.t.Errorf("packet %d to %s does not come out of the device", id, to)
		return
	}
	h.Device.Gets(h.t)
}

// misses is the opposite of reaches.
func (h *hub) misses(l *listener, id uint32, to string) {
	h.t.Helper()
	l.sends(tuntest.Packet(l.own(), to, id), tuntest.Packet(l.own(), "10.1.1.1", 1000+id))
	if got := tuntest.IDOf(h.Device.Gets(h.t)); got != 1000+id {
		h.t.Errorf("packet %d to %s comes out of the device", id, to)
		h.Device.Gets(h.t)
	}
}

// TestSetHoldsAtOnce changes tokens while the machine is being told of the networks so far, which
// may take long.
func TestSetHoldsAtOnce(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Machine.Route = func(ctx context.Context, _ networks.Machine) { <-ctx.Done() }
	})
	laptop := h.listen(h.token(auth.Spec{Name: "laptop", PushRoutes: prefixes("172.16.0.0/16")}),
		transport.Connect{})
	site := h.listen(h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")}),
		transport.Connect{})
	h.reaches(laptop, 1, "172.16.0.9")
	h.set("laptop", "172.17.0.0/16")
	h.misses(laptop, 2, "172.16.0.9")
	h.reaches(laptop, 3, "172.17.0.9")
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.7.9", 4))
	if id := tuntest.IDOf(site.gets()); id != 4 {
		t.Errorf("the site got packet %d", id)
	}
	// A part of the site's network gets another token.
	h.token(auth.Spec{Name: "branch", Routes: prefixes("10.50.7.0/24")})
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.7.9", 5),
		tuntest.Packet("10.1.1.1", "10.50.8.9", 6))
	if id := tuntest.IDOf(site.gets()); id != 6 {
		t.Errorf("the site got packet %d, which is for the branch", id)
	}
	if answer := h.Device.Gets(t); answer[9] != 1 || tuntest.IDOf(answer) != 5 {
		t.Errorf("the kernel was answered %x", answer)
	}
	site.sends(tuntest.Packet("10.50.7.9", "10.1.1.1", 7), tuntest.Packet("10.50.8.9", "10.1.1.1", 8))
	if id := tuntest.IDOf(h.Device.Gets(t)); id != 8 {
		t.Errorf("packet %d, which the site has made up, comes out of the device", id)
	}
	if _, err := h.Server.RevokeToken("branch"); err != nil {
		t.Fatal(err)
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.7.9", 9))
	if id := tuntest.IDOf(site.gets()); id != 9 {
		t.Errorf("the site got packet %d", id)
	}
}

// TestLateConnect has a client wait between its login and its connect until another token has its
// network.
func TestLateConnect(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	text := h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16", "10.51.0.0/16")})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := h.dialer()
	dialer.Token = text
	late, err := dialer.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h.own("site", "10.51.0.0/16")
	branch := h.listen(h.token(auth.Spec{Name: "branch", Routes: prefixes("10.50.0.0/16")}),
		transport.Connect{})
	if _, err := late.Request(ctx, transport.Connect{}, packet.Offload{}); err == nil {
		_ = late.ReadBatch(new(packet.Batch)) // until it is told to come back
	}
	late.Cut()
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.0.9", 1))
	if id := tuntest.IDOf(branch.gets()); id != 1 {
		t.Errorf("the branch got packet %d", id)
	}
	branch.sends(tuntest.Packet("10.50.0.9", "10.1.1.1", 2))
	if id := tuntest.IDOf(h.Device.Gets(t)); id != 2 {
		t.Errorf("packet %d comes out of the device", id)
	}
}

// TestHeldForFormerNetwork has packets wait for a client that is away, while one of its networks
// gets another token and its client: only what is still for it is delivered on its return.
func TestHeldForFormerNetwork(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	text := h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16", "10.51.0.0/16")})
	site := h.listen(text, transport.Connect{})
	site.leave()
	h.logged("disconnected", 1)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.0.9", 1),
		tuntest.Packet("10.1.1.1", "10.51.0.9", 2))
	h.own("site", "10.51.0.0/16")
	branch := h.listen(h.token(auth.Spec{Name: "branch", Routes: prefixes("10.50.0.0/16")}),
		transport.Connect{})
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.50.0.9", 3),
		tuntest.Packet("10.1.1.1", "10.51.0.9", 4))
	if id := tuntest.IDOf(branch.gets()); id != 3 {
		t.Errorf("the branch got packet %d", id)
	}
	again := h.listen(text, transport.Connect{})
	for _, want := range []uint32{2, 4} {
		if id := tuntest.IDOf(again.gets()); id != want {
			t.Errorf("the site got packet %d; want %d", id, want)
		}
	}
	site.leave()
	again.leave()
	if drops := h.drops(); drops["stale"] != 1 {
		t.Errorf("dropped %v", drops)
	}
}

// TestNetworkEndsWithToken has a network that was behind a client which is away become one behind
// the server.
func TestNetworkEndsWithToken(t *testing.T) {
	for name, end := range map[string]func(*hub){
		"revoked":  func(h *hub) { h.t.Helper(); _, _ = h.Server.RevokeToken("site") },
		"no route": func(h *hub) { h.t.Helper(); h.own("site") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			h := serve(t, "10.1.1.0/24", func(c *server.Config) {
				c.Site.Together, c.Machine.Route = true, m.route
			})
			laptop := h.listen(h.token(auth.Spec{Name: "laptop"}), transport.Connect{})
			laptop.hears(1)
			site := h.listen(h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")}),
				transport.Connect{}, "10.50.0.0/16")
			laptop.hears(2, "10.50.0.0/16")
			site.leave()
			h.logged("disconnected", 1)
			end(h)
			laptop.hears(3)
			m.until(t)
			h.set("laptop", "10.50.0.0/16")
			h.reaches(laptop, 1, "10.50.0.9")
		})
	}
}

// TestClientNeverHere has a network lie behind a token whose client was never here: it is none
// behind the server, and a sender is told.
func TestClientNeverHere(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")})
	laptop := h.listen(h.token(auth.Spec{Name: "laptop", PushRoutes: prefixes("10.50.0.0/16")}),
		transport.Connect{})
	laptop.sends(tuntest.SizedPacket(laptop.own(), "10.50.0.9", 1, 100),
		tuntest.Packet(laptop.own(), "10.1.1.1", 2))
	if id := tuntest.IDOf(h.Device.Gets(t)); id != 2 {
		t.Errorf("packet %d comes out of the device", id)
	}
	if answer := laptop.gets(); answer[9] != 1 || answer[20] != 3 || answer[21] != 1 {
		t.Errorf("the laptop was answered %x", answer)
	}
}

// TestAdvertisedTooOften has a client come back with other networks again and again: the newest
// hold half a minute later.
func TestAdvertisedTooOften(t *testing.T) {
	var clock testClock
	m := newMachine()
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Machine.Route = m.route
		c.Clock(clock.now)
	})
	text := h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")})
	for i := range 8 {
		network := []string{"10.50.1.0/24", "10.50.2.0/24"}[i%2]
		h.listen(text, transport.Connect{}, network)
	}
	h.logged("advertises too often", 2)
	m.until(t, "10.50.1.0/24")
	clock.add(31 * time.Second)
	m.until(t, "10.50.2.0/24")
}

// TestRouteTakesPushed refuses a network behind a client that would take a longer one which is
// pushed, unless that lies behind a client already.
func TestRouteTakesPushed(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Site.Push = prefixes("10.20.7.0/24") })
	refused := func(what string, err error, network string) {
		t.Helper()
		if !errors.Is(err, auth.ErrSpec) || !strings.Contains(err.Error(), "contains "+network) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err := h.Server.CreateToken(auth.Spec{Name: "x", Routes: prefixes("10.20.0.0/16")})
	refused("pushed to all", err, "10.20.7.0/24")
	h.token(auth.Spec{Name: "laptop", PushRoutes: prefixes("10.30.7.0/24")})
	h.token(auth.Spec{Name: "site", Routes: prefixes("10.40.0.0/16", "10.20.7.0/25")})
	_, err = h.Server.SetToken("site", auth.Change{Routes: list("10.30.0.0/16")})
	refused("pushed to one", err, "10.30.7.0/24")
	h.set("laptop", "10.40.7.0/24") // behind the site
	h.own("site", "10.40.0.0/16", "10.30.0.0/16")
	if _, err := h.Server.SetToken("site", auth.Change{DNS: &[]netip.Addr{}}); err != nil {
		t.Error(err)
	}
}
