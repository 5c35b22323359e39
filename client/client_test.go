package client_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/client"
	"tunnel/client/store"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

func TestJoin(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	c.device.Sends(t,
		tuntest.Packet("10.1.1.3", "10.1.1.1", 1),
		tuntest.Packet("192.168.107.5", "10.1.1.1", 2), // which the server would have to drop
		tuntest.Packet("fe80::1", "ff02::16", 3),
		tuntest.Packet("10.1.1.3", "10.1.1.1", 4))
	if a, b := tuntest.IDOf(h.Device.Gets(t)), tuntest.IDOf(h.Device.Gets(t)); min(a, b) != 1 ||
		max(a, b) != 4 {
		t.Errorf("the server's kernel got packets %d and %d; want 1 and 4", a, b)
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.1.1.3", 5))
	if id := tuntest.IDOf(c.device.Gets(t)); id != 5 {
		t.Errorf("the client's kernel got packet %d", id)
	}
	began := time.Now()
	if err := c.stop(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
	got := c.happened()
	if at := slices.Index(got, "up 10.1.1.3 10.1.1.4"); at < slices.Index(got, route3) ||
		at > slices.Index(got, "up is over") {
		t.Errorf("up is %d of %q", at, got)
	}
	c.same(linkUp, addr3, route3, "connected 10.1.1.3 10.1.1.0/24 1400 100", "up is over",
		"down 10.1.1.3 10.1.1.4", unroute3, unaddr3)
	h.Log.Until(t, "the client stops (code 1000)", 1)
	h.stop()
	if log := h.Log.Text(); !bytes.Contains(log, []byte(`"source":0`)) {
		t.Errorf("the server's log:\n%s", log)
	}
	c.logged("drops.foreign=2 ", 1)
	if log := c.log.Text(); bytes.Contains(log, []byte(token)) {
		t.Errorf("the token is in the log:\n%s", log)
	}
}

// The user's MTU and qlen go over the server's.
func TestOverrides(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, func(c *client.Config) { c.MTU, c.Qlen = 1280, 7 })
	c.until("up ", 1)
	if got := c.happened()[0]; got != "ip link set dev tun0 up mtu 1280 qlen 7" {
		t.Errorf("ran %s", got)
	}
}

// A connection that breaks comes back by itself: same address, same device, no command runs, no
// hook runs.
func TestReconnect(t *testing.T) {
	h := startHub(t)
	r := newRelay(t, h.Address)
	c := start(t, r.address, nil)
	c.until("up ", 1)
	for n := range 2 {
		r.cut()
		c.until("lost: ", n+1)
		h.join(transport.Connect{}) // gets another address meanwhile
		c.until("connected ", n+2)
		c.device.Sends(t, tuntest.Packet("10.1.1.3", "10.1.1.1", uint32(n)))
		if id := tuntest.IDOf(h.Device.Gets(t)); id != uint32(n) {
			t.Errorf("the server's kernel got packet %d", id)
		}
	}
	c.same(linkUp, addr3, route3, "connected 10.1.1.3…", "lost: the other side hung up",
		"connected 10.1.1.3…",
		"lost: the other side hung up", "connected 10.1.1.3…")
}

// A server that was restarted gives the same address, even one that has forgotten everything.
func TestServerRestarts(t *testing.T) {
	h := startHub(t)
	other, _ := h.join(transport.Connect{})
	c := start(t, h.Address, nil)
	c.until("connected 10.1.1.5 ", 1)
	other.Close(transport.CodeNormal, "")
	h.stop()
	// 3 ms later if the other has not gone yet
	c.until("lost: the other side closed the connection: the server stops: come back in 0.5", 1)
	c.logged("retry_in=50", 1)
	h.File = filepath.Join(t.TempDir(), "new.db")
	h.Start()
	c.until("connected 10.1.1.5 ", 2)
}

// Another network after a restart: the device is configured anew, and hooks frame the change.
func TestNetworkChanges(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	h.stop()
	h.Network = "10.9.0.0/16"
	h.Start()
	c.until("up 10.9.0.3 ", 1)
	c.until("connected ", 2)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	c.same(linkUp, addr3, route3, "connected 10.1.1.3…", "lost: …", "up is over",
		"down 10.1.1.3 10.1.1.4", unroute3, unaddr3,
		"ip addr add dev tun0 local 10.9.0.3 peer 10.9.0.4",
		"ip route add 10.9.0.0/16 via 10.9.0.4 dev tun0", "connected 10.9.0.3…",
		"up is over", "down 10.9.0.3 10.9.0.4",
		"ip route del 10.9.0.0/16 via 10.9.0.4 dev tun0",
		"ip addr del dev tun0 local 10.9.0.3 peer 10.9.0.4")
}

// The session outlives the run, in its file.
func TestSessionIsKept(t *testing.T) {
	h := startHub(t)
	path := filepath.Join(t.TempDir(), "session")
	run := func() *joined {
		t.Helper()
		session, err := store.OpenSessions(path)
		if err != nil {
			t.Fatal(err)
		}
		return start(t, h.Address, func(c *client.Config) { c.Session = session })
	}
	c := run()
	c.until("connected 10.1.1.3 ", 1)
	if _, err := store.OpenSessions(path); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second client: %v", err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if _, link := h.join(transport.Connect{}); link.Address == addr("10.1.1.3") {
		t.Error("the address was given to another")
	}
	c = run()
	c.until("connected 10.1.1.3 ", 1)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	h.stop()
	h.Start()
	c = run()
	c.until("connected 10.1.1.3 ", 1)
}

// Whose session somebody else has taken over does not fight for it.
func TestReplaced(t *testing.T) {
	h := startHub(t)
	path := filepath.Join(t.TempDir(), "session")
	session, err := store.OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, h.Address, func(c *client.Config) { c.Session = session })
	c.until("connected ", 1) // after the session was saved
	clone, link := h.join(transport.Connect{Session: sessionIn(t, path)})
	if link.Address.String() != "10.1.1.3" {
		t.Errorf("the clone got %s", link.Address)
	}
	c.until("lost: the other side closed the connection: "+
		"a newer connection resumed the session (code 4002)", 1)
	c.until("up 10.1.1.5 ", 1)
	clone.Close(transport.CodeNormal, "")
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// An address that was asked for and is there.
func TestWanted(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, func(c *client.Config) { c.Wanted = addr("10.1.1.77") })
	c.until("connected 10.1.1.77 ", 1)
}

// A server that goes away without a word is noticed, and asked again.
func TestSilentServer(t *testing.T) {
	silent := newSilent(t, 200*time.Millisecond)
	c := start(t, silent, nil)
	c.until("lost: the other side is silent", 1)
	c.until("connected ", 2)
}

// The keepalive of a real server is one that a client keeps.
func TestIdle(t *testing.T) {
	h := newHub(t)
	h.changed(func(c *server.Config) { c.Keepalive = 600 * time.Millisecond })
	h.Start()
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	select {
	case <-c.ended:
		t.Error(c.err)
	case <-time.After(2500 * time.Millisecond):
	}
	for _, e := range c.happened() {
		if strings.HasPrefix(e, "lost") {
			t.Error(e)
		}
	}
}
