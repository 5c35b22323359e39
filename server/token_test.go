package server_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// token makes a token of the hub.
func (h *hub) token(spec auth.Spec) string {
	h.t.Helper()
	_, text, err := h.Server.CreateToken(spec)
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// joinWith is join with another token.
func (h *hub) joinWith(token string, ask transport.Connect) *member {
	h.t.Helper()
	m, err := h.dialWith(token, ask)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(m.leave)
	return m
}

// refuses dials with a token that must not lead to a session.
func (h *hub) refuses(token string, ask transport.Connect) error {
	h.t.Helper()
	m, err := h.dialWith(token, ask)
	if err == nil {
		m.leave()
		h.t.Error("let in")
	}
	return err
}

func isStep(err error, want transport.Step) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Step == want
}

func isCode(err error, want transport.Code) bool {
	var closed *transport.CloseError
	return errors.As(err, &closed) && closed.Code == want
}

// ends checks that a member is told within a second, with a margin for a busy machine, that its
// token is over.
func ends(t *testing.T, m *member, reason string, began time.Time) {
	t.Helper()
	_, closed := m.told()
	if took := time.Since(began); took > 3*time.Second || closed.Code != transport.CodeRevoked ||
		closed.Reason != reason || !closed.Remote {
		t.Errorf("told %+v after %v", closed, took)
	}
}

func TestRevoke(t *testing.T) {
	var severed []string
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Sever = func(_ context.Context, all ...netip.Prefix) error {
			severed = nil
			for _, n := range all {
				severed = append(severed, n.String())
			}
			return nil
		}
	})
	text, other := h.token(auth.Spec{Name: "laptop"}), h.token(auth.Spec{Name: "other"})
	a, b, stays := h.joinWith(text, transport.Connect{}), h.joinWith(text,
		transport.Connect{}), h.joinWith(other, transport.Connect{})
	if a.own() == b.own() {
		t.Errorf("two machines with one token both have %s", a.own())
	}
	if _, err := h.Server.RevokeToken("nobody"); !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("revoke of nobody: %v", err)
	}
	began := time.Now()
	if _, err := h.Server.RevokeToken("laptop"); err != nil {
		t.Fatal(err)
	}
	want := []string{a.own() + "/32", b.own() + "/32"}
	slices.Sort(severed)
	if slices.Sort(want); !slices.Equal(severed, want) {
		t.Errorf("connections of %v end, want %v", severed, want)
	}
	ends(t, a, "the token was revoked", began)
	ends(t, b, "the token was revoked", began)
	for h.Server.Peers() > 1 { // they have heard of it before their leases are free
		time.Sleep(time.Millisecond)
	}
	// A new token of that name is a new one: the old text stays refused, the old sessions mean
	// nothing.
	again := h.token(auth.Spec{Name: "laptop"})
	if err := h.refuses(text, transport.Connect{Session: a.link.Session}); !isStep(err,
		transport.StepAuth) {
		t.Errorf("after the end: %v", err)
	}
	if m := h.joinWith(again, transport.Connect{Address: a.own()}); m.own() == a.own() {
		t.Errorf("%s of a revoked token did not rest", m.own())
	}
	h.Pass(lease.DefaultHold)
	if m := h.joinWith(again, transport.Connect{Address: a.own()}); m.own() != a.own() {
		t.Errorf("the leases of a revoked token are not free: got %s", m.own())
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", stays.own(), 7))
	if p := stays.gets(1)[0]; tuntest.IDOf(p) != 7 {
		t.Errorf("got packet %d", tuntest.IDOf(p))
	}
	for _, secret := range []string{text, other, again} {
		if bytes.Contains(h.Log.Text(), []byte(secret)) {
			t.Error("a token is in the log")
		}
	}
	if !bytes.Contains(h.Log.Text(), []byte(`"token":"laptop"`)) {
		t.Error("the log does not say whose token it was")
	}
}

func TestExpire(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	expires := time.Now().Add(2 * time.Second)
	m := h.joinWith(h.token(auth.Spec{Name: "short", Expires: expires}), transport.Connect{})
	ends(t, m, "the token has expired", expires)
	if time.Now().Before(expires) {
		t.Error("too early")
	}
}

// A session belongs to the token that it was made with.
func TestForeignSession(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	a := h.joinWith(h.token(auth.Spec{Name: "a"}), transport.Connect{})
	other := h.token(auth.Spec{Name: "b"})
	b := h.joinWith(other, transport.Connect{Session: a.link.Session})
	if b.own() == a.own() {
		t.Errorf("%s with another's session", b.own())
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", a.own(), 7)) // a is still there
	if p := a.gets(1)[0]; tuntest.IDOf(p) != 7 {
		t.Errorf("got packet %d", tuntest.IDOf(p))
	}
}

func TestReservedAddress(t *testing.T) {
	h := serve(t, "10.1.1.0/29", nil)
	text := h.token(auth.Spec{Name: "printer", Address: netip.MustParseAddr("10.1.1.3")})
	other := h.join(transport.Connect{Address: "10.1.1.3"})
	if other.own() != "10.1.1.5" {
		t.Errorf("a reserved address went to another, or %s did", other.own())
	}
	if _, err := h.dial(transport.Connect{}); !isCode(err, transport.CodeNoAddress) {
		t.Errorf("a third one: %v", err)
	}
	old := h.joinWith(text, transport.Connect{Address: "10.1.1.5"})
	replaced := make(chan transport.CloseError, 1)
	go func() {
		_, closed := old.told()
		replaced <- closed
	}()
	m := h.joinWith(text, transport.Connect{}) // without the session, and yet the same client
	if m.own() != "10.1.1.3" || old.own() != "10.1.1.3" {
		t.Errorf("%s became %s", old.own(), m.own())
	}
	if closed := <-replaced; closed.Code != transport.CodeReplaced {
		t.Errorf("the old one was told %+v", closed)
	}
	for what, spec := range map[string]auth.Spec{
		"in use":          {Address: netip.MustParseAddr("10.1.1.5")},
		"reserved":        {Address: netip.MustParseAddr("10.1.1.3")},
		"the server's":    {Address: netip.MustParseAddr("10.1.1.1")},
		"a peer's":        {Address: netip.MustParseAddr("10.1.1.4")},
		"another network": {Address: netip.MustParseAddr("10.1.2.3")},
		"the network":     {Routes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
	} {
		spec.Name = "x"
		if _, _, err := h.Server.CreateToken(spec); !errors.Is(err, auth.ErrSpec) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Made while no server knew the network.
	_, misfit, err := h.Tokens.Create(auth.Spec{Name: "misfit",
		Address: netip.MustParseAddr("10.9.9.3")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.refuses(misfit, transport.Connect{}); !isCode(err, transport.CodeNoAddress) {
		t.Errorf("an address of another network: %v", err)
	}
}

func TestJoinToken(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	join := h.token(auth.Spec{Name: "phone", Once: true, Expires: time.Now().Add(time.Hour)})
	const mine = "the-session-of-this-phone"
	first := h.joinWith(join, transport.Connect{Session: mine})
	credential := first.link.Credential
	if credential == "" || credential == join {
		t.Fatalf("got the credential %q", credential)
	}
	if err := h.refuses(join, transport.Connect{Session: "of-somebody-else"}); !isCode(err,
		transport.CodeRevoked) {
		t.Errorf("somebody else: %v", err)
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", first.own(), 7)) // nobody has taken its place
	if p := first.gets(1)[0]; tuntest.IDOf(p) != 7 {
		t.Errorf("got packet %d", tuntest.IDOf(p))
	}
	first.leave()
	again := h.joinWith(join, transport.Connect{Session: mine}) // it lost what it was told
	if again.link.Credential != credential || again.own() != first.own() {
		t.Errorf("again: %q at %s", again.link.Credential, again.own())
	}
	again.leave()
	m := h.joinWith(credential, transport.Connect{}) // the session is not even needed
	if m.own() != first.own() || m.link.Credential != "" {
		t.Errorf("with the credential: %s, %q", m.own(), m.link.Credential)
	}
	if err := h.refuses(join, transport.Connect{Session: mine}); !isStep(err, transport.StepAuth) {
		t.Errorf("the join token once more: %v", err)
	}
	if _, err := h.Server.RevokeToken("phone"); err != nil {
		t.Fatal(err)
	}
	ends(t, m, "the token was revoked", time.Now())
	if bytes.Contains(h.Log.Text(), []byte(credential)) {
		t.Error("the credential is in the log")
	}
}

// A client with networks behind it sends from them and gets what is for them; nobody else does
// either.
func TestRoutes(t *testing.T) {
	for name, together := range map[string]bool{"apart": false, "together": true} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Site.Together = together })
			text := h.token(auth.Spec{Name: "site",
				Routes: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"),
					netip.MustParsePrefix("fd07::/48")}})
			site, other := h.joinWith(text, transport.Connect{}), h.join(transport.Connect{})
			site.sends(
				tuntest.Packet("192.168.7.9", "10.1.1.1", 1), tuntest.Packet("fd07::9", "fd99::1",
					2),
				tuntest.Packet("192.168.8.9", "10.1.1.1", 3),
				tuntest.Packet("192.168.7.9", other.own(), 4),
			)
			other.sends(tuntest.Packet("192.168.7.9", "10.1.1.1", 5),
				tuntest.Packet(other.own(), "192.168.7.9", 6), tuntest.Packet(other.own(),
					"10.1.1.1", 7))
			h.Device.Sends(t,
				tuntest.Packet("10.1.1.1", "192.168.7.9", 8),
				tuntest.Packet("203.0.113.1", "192.168.99.1", 9),
				tuntest.Packet("192.168.7.9", other.own(), 10),
				tuntest.Packet("10.1.1.1", "192.168.9.9", 11),
				tuntest.Packet("10.1.1.1", other.own(), 12),
			)
			wantDrops := map[string]int{"source": 2, "destination": 1, "no_peer": 2}
			wantSite, wantOther := []uint32{8}, []uint32{12}
			if together {
				wantSite, wantOther = []uint32{6, 8}, []uint32{4, 10, 12}
			} else {
				wantDrops["client_to_client"] = 3
			}
			for _, want := range []struct {
				m   *member
				ids []uint32
			}{{site, wantSite}, {other, wantOther}} {
				got := ids(want.m.gets(len(want.ids)))
				for i := range want.ids {
					if got[i] != want.ids[i] {
						t.Errorf("%s got %v; want %v", want.m.own(), got, want.ids)
						break
					}
				}
			}
			kernel := map[uint32]bool{tuntest.IDOf(h.Device.Gets(t)): true,
				tuntest.IDOf(h.Device.Gets(t)): true}
			if !kernel[1] || !kernel[7] {
				t.Errorf("the kernel got %v", kernel)
			}
			go site.told()
			go other.told()
			if drops := h.drops(); !maps.Equal(drops, wantDrops) {
				t.Errorf("dropped %v; want %v", drops, wantDrops)
			}
		})
	}
}

func TestListTokens(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	m := h.joinWith(h.token(auth.Spec{Name: "laptop"}), transport.Connect{})
	all, err := h.Server.ListTokens()
	if err != nil || len(all) != 2 || all[0].Name != "flag" || all[1].Name != "laptop" ||
		len(all[0].Sessions) != 0 ||
		len(all[1].Sessions) != 1 || all[1].Sessions[0].Address.String() != m.own() ||
		all[1].Used.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
	open := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Auth = auth.AllowAll{} })
	if _, err := open.Server.ListTokens(); !errors.Is(err, server.ErrNoTokens) {
		t.Errorf("without tokens: %v", err)
	}
	if _, _, err := open.Server.CreateToken(auth.Spec{Name: "x"}); !errors.Is(err,
		server.ErrNoTokens) {
		t.Errorf("without tokens: %v", err)
	}
	if _, err := open.Server.RevokeToken("x"); !errors.Is(err, server.ErrNoTokens) {
		t.Errorf("without tokens: %v", err)
	}
}

// What waits for a client that is away is thrown away with its token, and nothing waits for one
// whose token is over.
func TestRevokedAway(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	away, stays := h.joinWith(h.token(auth.Spec{Name: "away"}),
		transport.Connect{}), h.joinWith(h.token(auth.Spec{Name: "stays"}), transport.Connect{})
	away.leave()
	h.logged("disconnected", 1)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", away.own(), 1),
		tuntest.Packet("10.1.1.1", away.own(), 2), tuntest.Packet("10.1.1.1", stays.own(), 3))
	stays.gets(1) // so that the server has read them
	for _, name := range []string{"away", "stays"} {
		if _, err := h.Server.RevokeToken(name); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, stays, "the token was revoked", time.Now())
	h.logged("disconnected", 2)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", away.own(), 4))
	time.Sleep(50 * time.Millisecond) // for the server to end the session and to read it
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", stays.own(), 5))
	time.Sleep(50 * time.Millisecond)
	if drops := h.drops(); !maps.Equal(drops, map[string]int{"stale": 2, "no_peer": 2}) {
		t.Errorf("drops %v", drops)
	}
}

// A connection that was replaced is not listed until it has heard of that.
func TestListReplaced(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	text := h.token(auth.Spec{Name: "laptop"})
	old := h.joinWith(text, transport.Connect{}) // and never answers the close frame
	m := h.joinWith(text, transport.Connect{Session: old.link.Session})
	all, err := h.Server.ListTokens()
	if err != nil || len(all) != 2 || len(all[1].Sessions) != 1 ||
		all[1].Sessions[0].Address.String() != m.own() {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := h.Server.RevokeToken("laptop"); err != nil {
		t.Fatal(err)
	}
	ends(t, m, "the token was revoked", time.Now())
}

// Where a longer network of another token lies in one that ends, that one's connections go on.
func TestRevokeSparesOthersNetworks(t *testing.T) {
	var severed []netip.Prefix
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Sever = func(_ context.Context, all ...netip.Prefix) error {
			severed = all
			return nil
		}
	})
	large, part := netip.MustParsePrefix("10.50.0.0/16"), netip.MustParsePrefix("10.50.7.0/24")
	h.token(auth.Spec{Name: "site", Routes: []netip.Prefix{large}})
	h.token(auth.Spec{Name: "branch", Routes: []netip.Prefix{part}})
	for _, test := range []struct {
		name string
		ends []netip.Prefix
	}{{"site", nil}, {"branch", []netip.Prefix{part}}} {
		if _, err := h.Server.RevokeToken(test.name); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(severed, test.ends) {
			t.Errorf("%s: connections of %v end, want %v", test.name, severed, test.ends)
		}
	}
}
