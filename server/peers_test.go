package server_test

import (
	"net/netip"
	"testing"

	"tunnel/auth"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// A client of a revoked token that ends late takes no route away from the client that has it by
// then.
func TestRouteOfLatePeer(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	spec := auth.Spec{Name: "site", Routes: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}}
	h.joinWith(h.token(spec), transport.Connect{})
	if _, err := h.Server.RevokeToken("site"); err != nil {
		t.Fatal(err)
	}
	spec.Name = "site2"
	m := h.joinWith(h.token(spec), transport.Connect{})
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "192.168.7.9", 1))
	m.gets(1)
	h.logged("disconnected", 1)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "192.168.7.9", 2),
		tuntest.Packet("10.1.1.1", m.own(), 3))
	if id := tuntest.IDOf(m.gets(1)[0]); id != 2 {
		t.Errorf("got packet %d: the route has gone with the late client", id)
	}
}
