package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/server/networks"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// listener is a member that takes updates, and reads all the time.
type listener struct {
	*member

	updates chan transport.Update
	packets chan []byte
	closed  chan error
}

// listen joins with a token, as a client that takes updates and advertises these networks.
func (h *hub) listen(text string, ask transport.Connect, advertise ...string) *listener {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	dialer := h.dialer()
	dialer.Token = text
	conn, err := dialer.Dial(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	l := &listener{updates: make(chan transport.Update, 100), packets: make(chan []byte, 100),
		closed: make(chan error, 1)}
	conn.OnUpdate(func(u transport.Update) { l.updates <- u })
	ask.Advertise = prefixes(advertise...)
	link, err := conn.Request(ctx, ask, packet.Offload{})
	if err != nil {
		h.t.Fatal(err)
	}
	l.member = &member{h.t, conn, link}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var b packet.Batch
			if err := conn.ReadBatch(&b); err != nil {
				l.closed <- err
				return
			}
			for _, p := range tuntest.PacketsOf(&b) {
				l.packets <- p
			}
		}
	}()
	h.t.Cleanup(func() {
		l.leave()
		<-ended
	})
	return l
}

func (l *listener) leave() { l.conn.Cut() }

// hears waits for the next update, which must have these routes.
func (l *listener) hears(serial uint64, routes ...string) {
	l.t.Helper()
	select {
	case u := <-l.updates:
		if u.Serial != serial || !slices.Equal(u.Routes, prefixes(routes...)) {
			l.t.Errorf("%s was told %+v; want serial %d, %v", l.own(), u, serial, routes)
		}
	case <-time.After(patience):
		l.t.Fatalf("%s was told nothing; want %v", l.own(), routes)
	}
}

// gets returns the next packet.
func (l *listener) gets() []byte {
	l.t.Helper()
	select {
	case p := <-l.packets:
		return p
	case <-time.After(patience):
		l.t.Fatalf("%s got nothing", l.own())
		return nil
	}
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// set changes what is pushed to the clients of a token.
func (h *hub) set(name string, pushed ...string) {
	h.t.Helper()
	if _, err := h.Server.SetToken(name, auth.Change{PushRoutes: list(pushed...)}); err != nil {
		h.t.Fatal(err)
	}
}

func list(texts ...string) *[]netip.Prefix {
	all := prefixes(texts...)
	return &all
}

// A client is told what is pushed to all and to its token, and of each change while it is
// connected; packets pass by the same prefixes.
func TestPushedRoutes(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Site.Push = prefixes("192.168.7.0/24") })
	laptop := h.listen(h.token(auth.Spec{Name: "laptop", PushRoutes: prefixes("172.16.0.0/16")}),
		transport.Connect{})
	laptop.hears(1, "172.16.0.0/16", "192.168.7.0/24")
	other := h.joinWith(h.token(auth.Spec{Name: "other"}), transport.Connect{})

	pass := func(l *member, id uint32, from, to string) { // and then one that always passes
		l.sends(tuntest.Packet(from, to, id), tuntest.Packet(from, "10.1.1.1", 1000+id))
		if got := tuntest.IDOf(h.Device.Gets(t)); got != id {
			t.Errorf("packet %d from %s to %s does not pass", id, from, to)
			return
		}
		h.Device.Gets(t)
	}
	drop := func(l *member, id uint32, from, to string) {
		l.sends(tuntest.Packet(from, to, id), tuntest.Packet(from, "10.1.1.1", 1000+id))
		if got := tuntest.IDOf(h.Device.Gets(t)); got != 1000+id {
			t.Errorf("packet %d from %s to %s passes", id, from, to)
			h.Device.Gets(t)
		}
	}
	own := laptop.own()
	pass(laptop.member, 1, own, "192.168.7.9")
	pass(laptop.member, 2, own, "172.16.3.9")
	drop(laptop.member, 3, own, "172.17.3.9")
	pass(other, 4, other.own(), "192.168.7.9")
	drop(other, 5, other.own(), "172.16.3.9")
	h.Device.Sends(t,
		tuntest.Packet("172.17.3.9", own, 6), tuntest.Packet("172.16.3.9", other.own(), 7),
		tuntest.Packet("172.16.3.9", own, 8), tuntest.Packet("192.168.7.9", other.own(), 9))
	if id := tuntest.IDOf(laptop.gets()); id != 8 {
		t.Errorf("the laptop got packet %d", id)
	}
	if id := tuntest.IDOf(other.gets(1)[0]); id != 9 {
		t.Errorf("the other got packet %d", id)
	}

	// Another list takes effect at once, also for a client that cannot be told.
	h.set("laptop", "172.17.0.0/16")
	laptop.hears(2, "172.17.0.0/16", "192.168.7.0/24")
	pass(laptop.member, 10, own, "172.17.3.9")
	drop(laptop.member, 11, own, "172.16.3.9")
	h.set("laptop")
	laptop.hears(3, "192.168.7.0/24")
	drop(laptop.member, 12, own, "172.17.3.9")
	// A change that is none of its own tells it nothing.
	h.set("other", "172.16.0.0/16")
	h.set("laptop", "10.9.0.0/16")
	laptop.hears(4, "10.9.0.0/16", "192.168.7.0/24")
	pass(other, 13, other.own(), "172.16.3.9")
	laptop.leave()
	go other.told()
	drops := h.drops()
	if drops["destination"] != 4 || drops["not_pushed"] != 2 {
		t.Errorf("dropped %v", drops)
	}
}

// machine is what the server has asked this machine to do.
type machine struct {
	mu   sync.Mutex
	last networks.Machine
	ring chan struct{}
}

func newMachine() *machine { return &machine{ring: make(chan struct{}, 1)} }

func (m *machine) route(_ context.Context, n networks.Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = n
	select {
	case m.ring <- struct{}{}:
	default:
	}
}

// until waits until these networks are routed into the device.
func (m *machine) until(t *testing.T, behind ...string) {
	t.Helper()
	for late := time.After(patience); ; {
		m.mu.Lock()
		last := m.last
		m.mu.Unlock()
		if slices.Equal(last.Behind, prefixes(behind...)) {
			return
		}
		select {
		case <-m.ring:
		case <-late:
			t.Fatalf("the machine routes %v; want %v", last.Behind, behind)
		}
	}
}

// A network behind a client is routed, and told to others, once the client advertises it, as long
// as the client is known, and as far as its token allows.
func TestAdvertised(t *testing.T) {
	var clock testClock
	m := newMachine()
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Site.Together, c.Machine.Route = true, m.route
		c.Clock(clock.now)
	})
	laptop := h.listen(h.token(auth.Spec{Name: "laptop"}), transport.Connect{})
	laptop.hears(1)
	text := h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16", "10.60.0.0/16")})
	m.until(t)
	site := h.listen(text, transport.Connect{}, "10.50.1.0/24", "10.60.0.0/16", "10.70.0.0/16")
	site.hears(1) // nothing of its own
	laptop.hears(2, "10.50.1.0/24", "10.60.0.0/16")
	m.until(t, "10.50.1.0/24", "10.60.0.0/16")
	h.logged("its token does not allow them", 1)

	// It comes back with less.
	site.leave()
	h.logged("disconnected", 1)
	site = h.listen(text, transport.Connect{}, "10.60.0.0/16")
	laptop.hears(3, "10.60.0.0/16")
	m.until(t, "10.60.0.0/16")

	// Longer networks of another win, in both directions.
	branch := h.listen(h.token(auth.Spec{Name: "branch", Routes: prefixes("10.60.7.0/24")}),
		transport.Connect{}, "10.60.7.0/24")
	laptop.hears(4, "10.60.0.0/16", "10.60.7.0/24")
	laptop.sends(tuntest.Packet(laptop.own(), "10.60.7.9", 1))
	if id := tuntest.IDOf(branch.gets()); id != 1 {
		t.Errorf("the branch got packet %d", id)
	}
	site.sends(tuntest.Packet("10.60.7.9", laptop.own(), 2),
		tuntest.Packet("10.60.8.9", laptop.own(), 3))
	if id := tuntest.IDOf(laptop.gets()); id != 3 {
		t.Errorf("the laptop got packet %d, which the site has made up", id)
	}

	// What is asked of a token that is over goes at once.
	if _, err := h.Server.RevokeToken("branch"); err != nil {
		t.Fatal(err)
	}
	laptop.hears(5, "10.60.0.0/16")

	// Away: for a while it is held, then the sender is told, at last it is forgotten.
	site.leave()
	h.logged("disconnected", 3)
	clock.add(3 * time.Minute)
	laptop.sends(tuntest.SizedPacket(laptop.own(), "10.60.8.9", 4, 100))
	answer := laptop.gets()
	if answer[9] != 1 || answer[20] != 3 || answer[21] != 1 ||
		packet.Source(answer).String() != "10.1.1.1" || tuntest.IDOf(answer) != 4 {
		t.Errorf("the laptop was answered %x", answer)
	}
	clock.add(time.Second) // answers are limited
	h.Device.Sends(t, tuntest.SizedPacket("10.1.1.1", "10.60.8.9", 5, 100))
	answer = h.Device.Gets(t)
	if answer[9] != 1 || answer[20] != 3 || answer[21] != 1 ||
		packet.Source(answer).String() != "10.1.1.2" || tuntest.IDOf(answer) != 5 {
		t.Errorf("the kernel was answered %x", answer)
	}
	clock.add(time.Hour)
	laptop.hears(6)
	m.until(t)
	if drops := h.drops(); drops["unreachable"] < 2 {
		t.Errorf("dropped %v", drops)
	}
}

// testClock is a clock that the test sets.
type testClock struct {
	mu   sync.Mutex
	more time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.more)
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more += d
}

// A client whose own networks change comes back for them.
func TestSetOwnRoutes(t *testing.T) {
	m := newMachine()
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Machine.Route = m.route })
	text := h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")})
	site := h.listen(text, transport.Connect{}, "10.50.0.0/16", "10.60.0.0/16")
	m.until(t, "10.50.0.0/16")
	if _, err := h.Server.SetToken("site", auth.Change{Routes: list("10.60.0.0/16")}); err != nil {
		t.Fatal(err)
	}
	var closed *transport.CloseError
	select {
	case err := <-site.closed:
		if !errors.As(err, &closed) || closed.Code != transport.CodeRestart {
			t.Errorf("the site was told %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the site goes on")
	}
	again := h.listen(text, transport.Connect{}, "10.50.0.0/16", "10.60.0.0/16")
	if again.own() != site.own() {
		t.Errorf("%s became %s", site.own(), again.own())
	}
	m.until(t, "10.60.0.0/16")
}

// A token cannot have what the machine or another token has.
func TestNetworksRefused(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Machine.Overlap = func(_ context.Context, all ...netip.Prefix) error {
			for _, p := range all {
				if p.Overlaps(netip.MustParsePrefix("192.168.7.0/24")) {
					return fmt.Errorf("%s overlaps the route 192.168.7.0/24 dev eth1", p)
				}
			}
			return nil
		}
	})
	h.token(auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")})
	for want, spec := range map[string]auth.Spec{
		"route 192.168.7.0/24 cannot lie behind a client: 192.168.7.0/24 overlaps the route " +
			"192.168.7.0/24 dev eth1": {Routes: prefixes("192.168.7.0/24")},
		"192.168.0.0/16 overlaps the route":                  {Routes: prefixes("192.168.0.0/16")},
		"route 10.50.0.0/16 of x is a route of site already": {Routes: prefixes("10.50.0.0/16")},
		"route 10.0.0.0/8 overlaps with the network":         {Routes: prefixes("10.0.0.0/8")},
		"10.1.0.0/16, which is to be pushed, overlaps with the network": {
			PushRoutes: prefixes("10.1.0.0/16")},
	} {
		spec.Name = "x"
		_, _, err := h.Server.CreateToken(spec)
		if !errors.Is(err, auth.ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	// Behind the server it is where it should be.
	if _, _, err := h.Server.CreateToken(auth.Spec{Name: "y", Routes: prefixes("10.50.7.0/24"),
		PushRoutes: prefixes("192.168.7.0/24", "10.50.0.0/16")}); err != nil {
		t.Error(err)
	}
	_, err := h.Server.SetToken("y", auth.Change{Routes: list("192.168.7.0/25")})
	if !errors.Is(err, auth.ErrSpec) || !strings.Contains(err.Error(), "overlaps the route") {
		t.Error(err)
	}
}

// Each lane of a session may bring an update, and one that breaks takes none with it.
func TestUpdateOverLanes(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxLanes = 2 })
	text := h.token(auth.Spec{Name: "laptop"})
	first := h.listen(text, transport.Connect{Lanes: 2})
	first.hears(1)
	lane := 1
	second := h.listen(text, transport.Connect{Session: first.link.Session, Lane: &lane})
	second.hears(1)
	first.leave()
	h.logged("lane lost", 1)
	h.set("laptop", "172.16.0.0/16")
	second.hears(2, "172.16.0.0/16")
}
