package server_test

import (
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// TestForgottenBranch has a part of a network lie behind a token whose client left long ago: the
// one behind which the rest lies does not get its packets.
func TestForgottenBranch(t *testing.T) {
	var clock testClock
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Site.Together = true
		c.Clock(clock.now)
	})
	laptop := h.listen(h.token(auth.Spec{Name: "laptop"}), transport.Connect{})
	laptop.hears(1)
	site := h.listen(h.token(auth.Spec{Name: "site", Routes: prefixes("10.60.0.0/16")}),
		transport.Connect{}, "10.60.0.0/16")
	laptop.hears(2, "10.60.0.0/16")
	branch := h.listen(h.token(auth.Spec{Name: "branch", Routes: prefixes("10.60.7.0/24")}),
		transport.Connect{}, "10.60.7.0/24")
	laptop.hears(3, "10.60.0.0/16", "10.60.7.0/24")
	branch.leave()
	h.logged("disconnected", 1)
	clock.add(time.Hour)
	laptop.hears(4, "10.60.0.0/16")
	laptop.sends(tuntest.Packet(laptop.own(), "10.60.7.9", 1),
		tuntest.Packet(laptop.own(), "10.60.8.9", 2))
	if id := tuntest.IDOf(site.gets()); id != 2 {
		t.Errorf("the site got packet %d, which is for the branch", id)
	}
}
