// Package client joins a network: one TUN device, one session with a server. It dials, configures
// the device as the server grants, forwards packets, and reconnects when the connection breaks.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tunnel/admin/status"
	"tunnel/client/backoff"
	"tunnel/client/grant"
	"tunnel/client/hook"
	"tunnel/client/push"
	"tunnel/client/refusal"
	"tunnel/client/site"
	"tunnel/client/store"
	"tunnel/defect"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/policy"
	"tunnel/route"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/fq/meter"
	"tunnel/transport/ws"
	"tunnel/tun"
)

// Config is what a Client needs. Dialer, Device, Host, Log, IsJoin and Resolvers must be set;
// Dialer.Before must not.
type Config struct {
	Dialer *ws.Dialer
	// to further servers, in the order in which to try them if Dialer's does not answer
	Others []*ws.Dialer
	// Redial returns what replaces Dialer and Others, to the same servers, from the next session on;
	// nil if nothing does. It may itself be nil.
	Redial func() []*ws.Dialer
	Device tun.Device // closed by Run
	Host   Host       // closed by Run
	// the only address to accept; the zero Addr accepts the server's choice
	Wanted netip.Addr
	// a granted network must lie in one of these, and may be public; if empty, it must be private
	Accept []netip.Prefix
	// Full has all traffic of this machine go through the tunnel.
	Full host.Full
	// KillSwitch lets nothing leave but by the tunnel, from the beginning of Run on; nil for none.
	KillSwitch *firewall.KillSwitch
	// LAN keeps this machine's other networks reachable past the kill switch.
	LAN  bool
	MTU  int // bytes; 0 uses the server's
	Qlen int // packets; 0 uses the server's
	// which networks behind the server to take
	Routes grant.Routes
	// AllNames has the server's DNS servers resolve the names of all domains. If they cannot be set
	// by the first update that has some, Run ends.
	AllNames bool
	Site     site.Site // networks behind this client
	// connections of the session, unless the server allows fewer; 0 is one
	Lanes      int
	KeepTrying bool            // do not give up when the first attempt fails
	Session    *store.Sessions // stores the session for the next run; nil stores none
	// stores the credential that replaces a join token; nil stores none
	Credentials *store.Credentials
	Exchanges   Exchanges // whether a credential may replace a token; nil allows none
	// reports join tokens, which are not used before their session is stored
	IsJoin func(string) bool
	// reports changes of this machine's network; may be nil. Closed by Run
	Network Network
	Events  Events
	Log     *slog.Logger

	// Resolvers returns this machine's DNS servers. Without Accept, a granted network that contains
	// one is refused, and any while they are unknown. During a session Host.Overlap checks them.
	Resolvers func() ([]netip.Addr, error)
}

// Host changes addresses and routes of this machine: a *host.Host, or a proxy for one in another
// process.
type Host interface {
	Overlap(ctx context.Context, networks ...netip.Prefix) error
	Apply(ctx context.Context, w host.Want) error
	Withdraw(ctx context.Context) error
	Bypass(ctx context.Context, server netip.AddrPort) error
	Retain(ctx context.Context, servers ...netip.Addr) error
	NextHop(ctx context.Context, server netip.AddrPort) (route.NextHop, error)
	Close() error
}

// requestTimeout bounds the wait for connected.
const requestTimeout = 10 * time.Second

// ErrAddress means that the server granted another address than the requested one.
var ErrAddress = errors.New("the server gave another address")

// Client joins one network. Make it with New, start it once with Run.
type Client struct {
	Config
	queue *fq.Subflows
	drops policy.Drops
	meter *meter.Meter

	monitor *pathMonitor

	// Owned by Run.
	endpoints []*endpoint
	servers   int // how many they are
	// by host name: the addresses of the last sessions; replaced, never changed
	known   map[string]netip.Addr
	current *endpoint      // the one of the last session, nil before the first
	link    transport.Link // what the device is configured for, zero while it is not
	hook    hook.Hook      // Up, while it runs
	pushed  *push.Taker    // beside what it is configured for
	named   bool           // the server's DNS was set once; owned by monitor.keeper
	ways    site.Ways      // to the networks behind this client, as they were when it was configured

	behind policy.Prefixes // as others see them

	defects defect.Log

	mu      sync.RWMutex
	address netip.Addr // the source address that may go out
}

// New returns a Client that is not running yet.
func New(c Config) *Client {
	client := &Client{Config: c, queue: fq.NewSubflows(fq.PeerLimit), meter: new(meter.Meter),
		behind: policy.NewPrefixes(c.Site.Advertised())}
	client.queue.Measure(client.meter)
	client.Device = tun.Observed{Device: c.Device, See: client.meter.Written}
	client.monitor = newPathMonitor(client)
	client.monitor.keeper.NamesSet = client.namesSet
	client.pushed = &push.Taker{Accept: c.Routes, AllNames: c.AllNames, Keeper: client.monitor,
		Changed: c.Events.Routes, Unreached: c.Events.Unreached, Nameless: c.Events.Nameless,
		Offered: c.Site.Advertised(), Disallowed: c.Events.Disallowed, Log: c.Log}
	client.monitor.keeper.RoutesSet = client.pushed.Routed
	client.monitor.keeper.ExceptSet = client.pushed.Except
	return client
}

// Run joins the network and stays connected until ctx ends (it then returns nil), every server
// refuses the token, or the device fails. Unless KeepTrying is set, it also returns if the first
// attempt fails. When Run returns it has told the server, undone addresses and routes, and closed
// the device; whether a kill switch stays is Host's to decide.
func (c *Client) Run(ctx context.Context) (err error) {
	parent := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	defer context.AfterFunc(parent, func() {
		cancel(&transport.CloseError{Code: transport.CodeNormal, Reason: "the client stops"})
	})()
	c.endpoints, c.known = c.newEndpoints(), c.Session.Names()

	var reader sync.WaitGroup
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	c.monitor.lost = func(err error) { cancel(err) }
	if c.Network != nil {
		reader.Go(func() { c.monitor.follow(watching, c.Network) })
	}
	reader.Go(func() { c.monitor.keeper.Again(watching, c.monitor.checkDevice) })
	reader.Go(func() {
		if err := c.forward(); ctx.Err() == nil {
			cancel(err)
		}
	})
	if err = c.seal(ctx); err == nil {
		err = c.stay(ctx)
	}
	unwatch() // before the routes go
	if parent.Err() != nil {
		err = nil
	}
	c.down()
	if undo := c.Host.Close(); undo != nil { // ctx has ended: Close has its own timeout
		err = errors.Join(err, fmt.Errorf("undo: %w", undo))
	}
	cancel(nil)
	_ = c.Device.Close()
	reader.Wait()
	c.queue.Close()
	lost := c.drops.Counts(policy.ClientReasons())
	status.AddDrops(lost, c.queue.Drops())
	c.Log.Info("stopped", "drops", policy.Log(lost, policy.ClientReasons()), "defects",
		c.defects.Count())
	c.Session.Close()
	return err
}

// stay runs one session after another until ctx ends or another attempt would be pointless.
func (c *Client) stay(ctx context.Context) error {
	var wait backoff.Backoff
	for first := true; ; {
		if c.isUp() && !c.monitor.keeper.Has(c.device(c.link)) { // withdrawn
			c.down()
		}
		began := time.Now()
		connected, err := c.round(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		lasted := connected && time.Since(began) > backoff.Steady
		if lasted {
			wait = backoff.Backoff{}
		}
		first = first && !connected
		if errors.Is(err, errMoved) {
			wait = backoff.Backoff{}
			continue
		}
		if keep.Fatal(err) {
			return err
		}
		// With several servers, a permanent refusal of one does not end the client if another had a
		// session.
		if (first && !c.KeepTrying) || (refusal.Permanent(err) && (!connected || c.servers == 1)) {
			return err
		}
		delay, rest := wait.After(err, lasted, time.Now()), c.rest(time.Now())
		var busy *transport.BusyError
		if errors.As(err, &busy) { // else all its clients would come back at the same time
			delay += rest
		}
		delay = max(delay, rest)
		c.Log.Warn("not connected", "reason", err, "retry_in", delay.Round(time.Millisecond))
		if c.Events.Waits != nil {
			c.Events.Waits(err)
		}
		select {
		case <-time.After(delay):
		case <-c.monitor.moved:
			c.rouse()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session runs one session from its dial to its end. connected reports whether packets could pass.
func (c *Client) session(ctx context.Context, t *endpoint) (connected bool, err error) {
	defer func() {
		if !connected {
			err = c.monitor.pause(err)
		}
	}()
	if err := c.prepare(t); err != nil {
		return false, err
	}
	conn, err := c.dial(ctx, t)
	if err != nil {
		return false, err
	}
	updates := push.NewInbox()
	conn.OnUpdate(updates.Put)
	link, err := c.request(ctx, conn, t)
	if err != nil {
		c.defects.Note(err, c.Log)
		c.forget(conn)
		return false, err
	}
	// If the server's name has several addresses, those that did not answer need no bypass.
	if err := errors.Join(c.configure(ctx, link), c.Host.Retain(ctx, conn.Hop())); err != nil {
		conn.Close(transport.CodeNormal, "the client cannot configure its device")
		return false, err
	}
	c.took(t, link, time.Now())
	c.learn(conn)
	c.exchange(t, link.Credential)
	c.current, t.resume = t, store.Session{Session: link.Session, Address: link.Address,
		Network: link.Network}
	c.saveSession(t)
	c.Log.Info("connected", slog.String("server", t.dialer.URL.Host),
		slog.Any("address", link.Address), conn.Security())
	if c.Events.Connected != nil {
		c.Events.Connected(link)
	}
	for _, p := range c.queue.TakeFresh(fq.Fresh) {
		c.queue.Push(p)
	}
	err = c.runSession(ctx, t, conn, link, updates)
	var closed *transport.CloseError
	if errors.As(err, &closed) && closed.Remote && closed.Code == transport.CodeReplaced {
		// Another client uses this session, perhaps on a clone of this machine: do not take it back.
		t.resume = store.Session{}
	}
	err = c.monitor.pause(err)
	if c.Events.Lost != nil && ctx.Err() == nil {
		c.Events.Lost(err)
	}
	return true, cmp.Or(refusal.Over(err), err)
}

// saveSession stores the session to request from t on the next run.
func (c *Client) saveSession(t *endpoint) {
	if err := c.Session.Save(t.url(), t.resume); err != nil {
		c.Log.Warn("the session is not kept for the next run", "err", err)
	}
}

// request asks for the address of the last session, checks what the server grants, and overrides it
// by the Config. It closes the connection on error.
func (c *Client) request(
	ctx context.Context, conn *ws.Conn, t *endpoint,
) (transport.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ask := transport.Connect{Session: t.resume.Session, Lanes: c.Lanes,
		Advertise: c.Site.Advertised()}
	if wish := c.wish(t); wish.IsValid() {
		ask.Address = wish.String()
	}
	link, err := conn.Request(ctx, ask, c.Device.Offload())
	switch {
	case refusal.OfGrant(err) != nil:
		return link, refusal.OfGrant(err)
	case err != nil:
		conn.Close(transport.CodeGoingAway, "no connected in time")
		return link, &transport.StepError{Step: transport.StepHTTP,
			Err:    fmt.Errorf("ask for an address: %w", err),
			Advice: "check that the server is a `tunnel serve` of a matching version"}
	case c.Wanted.IsValid() && link.Address != c.Wanted:
		conn.Close(transport.CodeNormal, "not the address that was asked for")
		return link, &transport.StepError{Step: transport.StepAddress,
			Err: fmt.Errorf("%w: asked for %s, got %s of %s", ErrAddress, c.Wanted, link.Address,
				link.Network), Reason: transport.ReasonAddress}
	}
	if c.MTU != 0 {
		link.MTU = c.MTU
	}
	if c.Qlen != 0 {
		link.Qlen = c.Qlen
	}
	if err := cmp.Or(c.acceptable(link), t.changes(link, time.Now())); err != nil {
		conn.Close(transport.CodeNormal, "the client does not take what is granted")
		return link, err
	}
	return link, nil
}

// configure applies link to the device, and restores what another program changed of it. If the
// configuration changes, running hooks end first. If the network overlaps with one of this
// machine's, the device is not changed.
func (c *Client) configure(ctx context.Context, link transport.Link) error {
	held := c.ways.Forwarding
	c.findWays(ctx, link)
	want := c.device(link)
	changes := !c.isUp() || !want.Equal(c.device(c.link)) || !slices.Equal(held, c.ways.Forwarding)
	if changes && c.isUp() {
		if err := c.Host.Overlap(ctx, want.Networks()...); err != nil {
			return err
		}
		c.down()
	}
	if err := c.monitor.keeper.Set(ctx, want); err != nil || !changes {
		return err
	}
	c.monitor.holds()
	c.mu.Lock()
	c.address = link.Address
	c.mu.Unlock()
	c.link = link
	if c.Events.Up != nil {
		c.hook.Start(ctx, func(ctx context.Context) { c.Events.Up(ctx, want.Addresses[0]) })
	}
	return nil
}

// device returns the Want of the device for link.
func (c *Client) device(link transport.Link) host.Want {
	want := wantOf(c.Device.Name(), link)
	want.Firewall, want.Sysctls = c.Site.Rules(), c.ways.Forwarding
	want.Full, want.LAN, want.Firewall.KillSwitch = c.Full, c.LAN, c.KillSwitch
	return want
}

// isUp reports whether the device has an address.
func (c *Client) isUp() bool { return c.link.Address.IsValid() }

// down reports that the device loses its addresses, if it has any.
func (c *Client) down() {
	if !c.isUp() {
		return
	}
	c.hook.Stop()
	if c.Events.Down != nil {
		c.Events.Down(host.Address{Local: c.link.Address, Peer: c.link.Peer})
	}
	c.link = transport.Link{}
	c.pushed.Forget()
}
