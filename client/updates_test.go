package client_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tunnel/auth"
	"tunnel/client"
	"tunnel/client/grant"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

func networks(texts ...string) *[]netip.Prefix {
	all := []netip.Prefix{}
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return &all
}

// routed counts the commands about routes to networks behind the server.
func (j *joined) routed() (n int) {
	for _, e := range j.happened() {
		if strings.HasPrefix(e, "ip route ") && !strings.Contains(e, "10.1.1.0/24") {
			n++
		}
	}
	return n
}

// A client routes what the server pushes and it accepts, one change after another, takes packets
// from there and from nowhere else, and undoes it; a connection that breaks changes nothing.
func TestPushed(t *testing.T) {
	h := newHub(t)
	h.changed(func(c *server.Config) {
		c.Site.Push = *networks("8.8.8.0/24", "192.168.6.0/23", "192.168.107.0/25")
	})
	h.Start()
	_, text, err := h.Server.CreateToken(auth.Spec{Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, h.Address)
	c := start(t, r.address, func(c *client.Config) {
		c.Dialer.Token = text
		c.Routes = grant.Routes{Exclude: *networks("192.168.6.0/24")}
	})
	const add = "ip route add 192.168.7.0/24 via 10.1.1."
	c.until(add, 1)
	c.until("routes [192.168.7.0/24 192.168.107.0/25], not [8.8.8.0/24]", 1)
	c.logged("a network is not routed into the tunnel", 1)
	c.logged("network=192.168.107.0/25", 1)
	own := strings.Fields(slices.DeleteFunc(c.happened(), func(e string) bool {
		return !strings.HasPrefix(e, "connected ")
	})[0])[1]

	pass := func(id uint32, from string) {
		t.Helper()
		h.Device.Sends(t, tuntest.Packet(from, own, id))
		if got := tuntest.IDOf(c.device.Gets(t)); got != id {
			t.Errorf("the client's kernel got packet %d, not %d", got, id)
		}
		c.device.Sends(t, tuntest.Packet(own, from, id))
		if got := tuntest.IDOf(h.Device.Gets(t)); got != id {
			t.Errorf("the server's kernel got packet %d, not %d", got, id)
		}
	}
	pass(1, "192.168.7.9")
	h.Device.Sends(t, tuntest.Packet("8.8.8.8", own, 2))       // pushed, and not accepted
	h.Device.Sends(t, tuntest.Packet("192.168.107.9", own, 2)) // accepted, and here elsewhere
	pass(3, "10.1.1.1")

	r.cut()
	c.until("connected ", 2)
	pass(4, "192.168.7.9")
	if n := c.routed(); n != 1 {
		t.Errorf("%d commands about routes:\n%s", n, strings.Join(c.happened(), "\n"))
	}

	set := func(pushed *[]netip.Prefix) {
		t.Helper()
		if _, err := h.Server.SetToken("laptop", auth.Change{PushRoutes: pushed}); err != nil {
			t.Fatal(err)
		}
	}
	set(networks("172.16.0.0/12"))
	c.until("ip route add 172.16.0.0/12 via 10.1.1.", 1)
	pass(5, "172.31.0.1")
	set(networks())
	c.until("ip route del 172.16.0.0/12 via 10.1.1.", 1)
	c.until("routes [192.168.7.0/24 192.168.107.0/25], not [8.8.8.0/24]", 2)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	c.logged("drops.source=2 ", 1)
}

// An update that is not newer than the last changes nothing.
func TestUpdatesInOrder(t *testing.T) {
	all := packet.Offload{Vnet: true, USO: true}
	serial := make(chan transport.Update)
	address := serve(t, func(conn *ws.Conn) {
		request, _ := conn.Requested(t.Context(), all)
		if !request.TakesUpdates() {
			t.Error("the client does not take updates")
		}
		_ = conn.Grant(t.Context(), request, granted(), all)
		for u := range serial {
			if err := conn.Tell(u); err != nil {
				t.Error(err)
			}
		}
		conn.Close(transport.CodeNormal, "")
	})
	c := start(t, address, nil)
	serial <- transport.Update{Serial: 5, Routes: *networks("192.168.5.0/24")}
	c.until("ip route add 192.168.5.0/24 ", 1)
	serial <- transport.Update{Serial: 5, Routes: *networks("192.168.6.0/24")}
	serial <- transport.Update{Serial: 4, Routes: *networks("192.168.4.0/24")}
	serial <- transport.Update{Serial: 9, Routes: *networks("192.168.9.0/24")}
	c.until("ip route add 192.168.9.0/24 ", 1)
	close(serial)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if n := c.routed(); n != 4 {
		t.Errorf("%d commands about routes:\n%s", n, strings.Join(c.happened(), "\n"))
	}
}
