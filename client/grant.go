package client

import (
	"errors"
	"fmt"
	"time"

	"tunnel/client/grant"
	"tunnel/host"
	"tunnel/transport"
)

// changePause is the least time between two changes of what one server grants.
const changePause = time.Minute

// acceptable returns an error if the client refuses what a server grants. Host.Overlap checks this
// machine's routes and addresses, and its DNS servers later in the session. A network that was
// accepted before is checked again: this machine may have other DNS servers now.
func (c *Client) acceptable(link transport.Link) error {
	err := grant.Check(link.Network, link.Address, link.Peer, c.Accept)
	if err != nil || len(c.Accept) > 0 {
		return err
	}
	return grant.CheckResolvers(link.Network, c.resolvers)
}

// errChanging means that a server changes its grant too often: each change runs commands and hooks.
var errChanging = errors.New("the server changes what it grants more than once a minute")

// changes returns an error if what t grants changes within changePause of the last change.
func (t *endpoint) changes(link transport.Link, now time.Time) error {
	if t.granted.IsZero() || t.granted.Equal(wantOf("", link)) ||
		now.Sub(t.changed) >= changePause {
		return nil
	}
	return &transport.StepError{
		Step: transport.StepAddress,
		Err: fmt.Errorf("%w: %s of %s, then %s of %s", errChanging,
			t.granted.Addresses[0].Local, t.granted.Routes[0].Prefix, link.Address, link.Network),
		Advice: "it is taken when a minute has passed; ask the server's administrator",
	}
}

// took records that the device has what t grants, and logs a change.
func (c *Client) took(t *endpoint, link transport.Link, now time.Time) {
	before, granted := t.granted, wantOf("", link)
	if before.Equal(granted) {
		return
	}
	t.granted = granted
	if before.IsZero() {
		return
	}
	t.changed = now
	log := c.Log.With("server", t.dialer.URL.Host, "address", link.Address, "mtu", link.MTU, "qlen",
		link.Qlen)
	if from := before.Routes[0].Prefix; from != link.Network {
		log.Warn("the server changed the network", "from", from, "to", link.Network)
	} else {
		log.Warn("the server changed what it grants", "network", link.Network)
	}
}

// wantOf returns the Want for link on dev.
func wantOf(dev string, link transport.Link) host.Want {
	return host.Pair(dev, link.MTU, link.Qlen, link.Address, link.Peer, link.Network)
}
