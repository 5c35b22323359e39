package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/client"
	"tunnel/client/store"
	"tunnel/transport"
)

// others is a change that adds further servers.
func others(t *testing.T, addresses ...string) func(*client.Config) {
	t.Helper()
	return func(c *client.Config) {
		for _, a := range addresses {
			c.Others = append(c.Others, dialer(t, a))
		}
	}
}

// The servers are asked in their order; the one of the last session is asked first; each has a
// session of its own.
func TestOthers(t *testing.T) {
	one, two := newHub(t), newHub(t)
	two.Network = "10.9.0.0/16"
	two.Start()
	other, _ := two.join(transport.Connect{}) // so that the address is not simply the first
	path := filepath.Join(t.TempDir(), "session")
	session, err := store.OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, one.Address, func(c *client.Config) {
		others(t, two.Address)(c)
		c.Session = session
	})
	c.until("connected 10.9.0.5 ", 1) // a first attempt does not fail while one of them is there
	other.Close(transport.CodeNormal, "")
	one.Start()
	two.stop()
	c.until("connected 10.1.1.3 ", 1)
	two.Start()
	one.stop()
	one.Start() // at once: the client stays with it
	c.until("connected 10.1.1.3 ", 2)
	one.stop()
	c.until("connected 10.9.0.5 ", 2)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	one.Start()
	session, err = store.OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	c = start(t, one.Address, func(c *client.Config) {
		others(t, two.Address)(c)
		c.Session = session
	})
	c.until("connected 10.1.1.3 ", 1)
}

// Two servers of one network: the address goes along.
func TestOthersOfOneNetwork(t *testing.T) {
	one, two := startHub(t), startHub(t)
	occupied, _ := one.join(transport.Connect{})
	c := start(t, one.Address, others(t, two.Address))
	c.until("connected 10.1.1.5 ", 1)
	occupied.Close(transport.CodeNormal, "")
	one.stop()
	c.until("connected 10.1.1.5 ", 2)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	c.same(linkUp, "ip addr add dev tun0 local 10.1.1.5 peer 10.1.1.6",
		"ip route add 10.1.1.0/24 via 10.1.1.6 dev tun0", "connected 10.1.1.5…",
		"lost: …", "connected 10.1.1.5…", "up is over", "down 10.1.1.5 10.1.1.6",
		"ip route del 10.1.1.0/24 via 10.1.1.6 dev tun0",
		"ip addr del dev tun0 local 10.1.1.5 peer 10.1.1.6")
}

// When none is there the first one's error is told; a token that one refuses is not the end while
// there is another.
func TestOthersFail(t *testing.T) {
	refusing, gone := newHub(t), newHub(t)
	refusing.Token = "another-horse-battery"
	refusing.Start()
	var step *transport.StepError
	c := start(t, refusing.Address, others(t, gone.Address))
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepTCP ||
		!strings.Contains(err.Error(), gone.Address) {
		t.Errorf("Run returns %v", err)
	}
	c = start(t, refusing.Address, func(c *client.Config) {
		others(t, gone.Address)(c)
		c.KeepTrying = true
	})
	c.logged("401", 1)
	gone.Start()
	c.until("connected ", 1)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	gone.stop()
	c = start(t, refusing.Address, func(c *client.Config) { c.KeepTrying = true })
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth {
		t.Errorf("Run returns %v", err)
	}
}
