// Package client is the side that joins: one TUN device, one session with a server. It dials,
// configures the device with what the server grants, moves packets, and comes back by itself when
// the connection breaks.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tunnel/client/backoff"
	"tunnel/client/store"
	"tunnel/defect"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/policy"
	"tunnel/route"
	"tunnel/transport"
	"tunnel/tun"
)

// Config is what a Client needs. Dialer, Device, Host and Log must be set; Dialer.Before must not.
type Config struct {
	Dialer *transport.Dialer
	// to further servers, in the order in which to ask them when Dialer's is not there
	Others []*transport.Dialer
	Device tun.Device // closed by Run
	Host   Host       // closed by Run
	// the only address to accept; the zero Addr leaves it to the server
	Wanted netip.Addr
	// the network that a server grants must lie in one of them, and may be public; none: it must be
	// private
	Accept []netip.Prefix
	MTU    int // bytes; 0 is what the server says
	Qlen   int // packets; 0 is what the server says
	// connections to have for the session, if the server allows so many; 0 is one
	Lanes      int
	KeepTrying bool            // do not give up when the first attempt fails
	Session    *store.Sessions // where the session is kept for the next run; nil keeps none
	// where the credential that a join token gives is kept; nil keeps none
	Credentials *store.Credentials
	Exchanges   Exchanges // which tokens a server may give a credential for; nil is none
	// which tokens are join tokens: none is used before its session is stored; nil is none
	IsJoin func(string) bool
	// tells of changes of this machine's network; nil does not. Closed by Run
	Network Network
	Events  Events
	Log     *slog.Logger

	// Resolvers returns this machine's DNS servers: without Accept no granted network may contain
	// one, or be taken while they cannot be found out. nil if there are none. While the
	// session lasts it is Host.Overlap that judges them.
	Resolvers func() ([]netip.Addr, error)
}

// Host makes addresses and routes on this machine: a *host.Host, or what stands for one in another
// process.
type Host interface {
	Overlap(ctx context.Context, networks ...netip.Prefix) error
	Apply(ctx context.Context, w host.Want) error
	Withdraw(ctx context.Context) error
	Bypass(ctx context.Context, server netip.Addr) error
	Retain(ctx context.Context, servers ...netip.Addr) error
	NextHop(ctx context.Context, server netip.Addr) (route.NextHop, error)
	Close() error
}

// Events tells the caller what happens, on Run's goroutine unless a field says otherwise. Fields
// may be nil.
type Events struct {
	Connected func(transport.Link) // a session is there, the device is configured
	// the session is not there any more; the device stays
	Lost func(error)
	// the device has got this address; on a goroutine of its own
	Up   func(context.Context, host.Address)
	Down func(host.Address) // the device is about to lose it; Up is over
}

// requestTimeout bounds the wait for connected.
const requestTimeout = 10 * time.Second

// ErrAddress says that the server gave another address than the one that was asked for.
var ErrAddress = errors.New("the server gave another address")

// Client joins one network. Make it with New, start it once with Run.
type Client struct {
	Config
	queue *transport.Lanes
	drops policy.Drops

	monitor *pathMonitor

	// Owned by Run.
	endpoints []*endpoint
	servers   int // how many they are
	// by host: the addresses that the last sessions were reached by; replaced, never changed
	known   map[string]netip.Addr
	current *endpoint      // the one of the last session, nil before the first
	link    transport.Link // what the device is configured for, zero while it is not
	hook    hook           // Up, while it runs

	defects defect.Log

	mu      sync.RWMutex
	address netip.Addr // the source address that may go out
}

// fresh is how long a packet may have waited for a connection and still be sent, see
// transport.Queue.Salvage.
const fresh = 2 * time.Second

// queueLimit bounds what waits for the server, in bytes of buffers.
const queueLimit = 8 << 20

// New returns a Client that is not running yet.
func New(c Config) *Client {
	client := &Client{Config: c, queue: transport.NewLanes(queueLimit)}
	client.monitor = newPathMonitor(client)
	return client
}

// Run joins and stays until ctx ends (the error is nil then), until every server refuses its token,
// or until the device fails. Unless KeepTrying is set, a first attempt that fails ends it too. The
// server is told, and addresses, routes and the device are gone, when Run returns.
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
	reader.Go(func() {
		if err := c.forward(); ctx.Err() == nil {
			cancel(err)
		}
	})
	err = c.stay(ctx)
	unwatch() // before the routes go
	if parent.Err() != nil {
		err = nil
	}
	c.down()
	if undo := c.Host.Close(); undo != nil { // ctx is over: Close has its own time
		err = errors.Join(err, fmt.Errorf("undo: %w", undo))
	}
	cancel(nil)
	_ = c.Device.Close()
	reader.Wait()
	c.queue.Close()
	lost := c.queue.Drops()
	c.drops.Count(policy.QueueFull, lost.Full)
	c.drops.Count(policy.CoDel, lost.CoDel)
	c.drops.Count(policy.Cut, lost.Cut)
	c.Log.Info("stopped", "drops", c.drops.Log(policy.ClientReasons()), "defects", c.defects.Count())
	c.Session.Close()
	return err
}

// stay makes one session after the other until ctx ends or there is no point in another attempt.
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
		// Where there are other servers they are to be asked before this one's last word is the
		// end.
		if (first && !c.KeepTrying) || (permanent(err) && (!connected || c.servers == 1)) {
			return err
		}
		delay, rest := wait.After(err, lasted, time.Now()), c.rest(time.Now())
		var busy *transport.BusyError
		if errors.As(err, &busy) { // else all whom the server has sent away would come back in step
			delay += rest
		}
		delay = max(delay, rest)
		c.Log.Warn("not connected", "reason", err, "retry_in", delay.Round(time.Millisecond))
		select {
		case <-time.After(delay):
		case <-c.monitor.moved:
			c.rouse()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session is one connection from its dial to its end. connected reports whether packets could pass
// in between.
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
	link, err := c.request(ctx, conn, t)
	if err != nil {
		c.defects.Note(err, c.Log)
		c.forget(conn)
		return false, err
	}
	// The path to the addresses that did not answer, where the server's name has several, is the
	// kernel's own again.
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
	for _, p := range c.queue.Salvage(fresh) {
		c.queue.Push(p)
	}
	err = c.runSession(ctx, t, conn, link)
	var closed *transport.CloseError
	if errors.As(err, &closed) && closed.Remote && closed.Code == transport.CodeReplaced {
		// Another client has this session, perhaps on a clone of this machine: leave it to that
		// one.
		t.resume = store.Session{}
	}
	err = c.monitor.pause(err)
	if c.Events.Lost != nil && ctx.Err() == nil {
		c.Events.Lost(err)
	}
	return true, cmp.Or(over(err), err)
}

// saveSession keeps what to ask t for on the next run.
func (c *Client) saveSession(t *endpoint) {
	if err := c.Session.Save(t.url(), t.resume); err != nil {
		c.Log.Warn("the session is not kept for the next run", "err", err)
	}
}

// request asks for the address of last time, judges what the server grants, and puts this side's
// own wishes over it. The connection is closed on error.
func (c *Client) request(
	ctx context.Context, conn *transport.Conn, t *endpoint,
) (transport.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ask := transport.Connect{Session: t.resume.Session, Lanes: c.Lanes}
	if wish := c.wish(t); wish.IsValid() {
		ask.Address = wish.String()
	}
	link, err := conn.Request(ctx, ask, c.Device.Offload())
	var closed *transport.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == transport.CodeNoAddress:
		return link, &transport.StepError{Step: transport.StepAddress,
			Err: errors.New(closed.Reason), Reason: transport.ReasonNetworkFull}
	case errors.As(err, &closed) && closed.Code == transport.CodeSessions:
		return link, &transport.StepError{Step: transport.StepAddress,
			Err: errors.New(closed.Reason), Reason: transport.ReasonSessions}
	case over(err) != nil:
		return link, over(err)
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

// configure makes the device what the server grants, and what has changed of that meanwhile as it
// was. Running hooks of another configuration end first. A network that overlaps with this
// machine's leaves the device as it is.
func (c *Client) configure(ctx context.Context, link transport.Link) error {
	want := c.device(link)
	changes := !c.isUp() || !want.Equal(c.device(c.link))
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
		c.hook.start(ctx, func(ctx context.Context) { c.Events.Up(ctx, want.Addresses[0]) })
	}
	return nil
}

// device returns what the device has for link.
func (c *Client) device(link transport.Link) host.Want { return wantOf(c.Device.Name(), link) }

// wantOf returns the part of link that the device sees.
func wantOf(dev string, link transport.Link) host.Want {
	return host.Pair(dev, link.MTU, link.Qlen, link.Address, link.Peer, link.Network)
}

// isUp reports whether the device has an address.
func (c *Client) isUp() bool { return c.link.Address.IsValid() }

// down says that the device loses its addresses, if it has any.
func (c *Client) down() {
	if !c.isUp() {
		return
	}
	c.hook.stop()
	if c.Events.Down != nil {
		c.Events.Down(host.Address{Local: c.link.Address, Peer: c.link.Peer})
	}
	c.link = transport.Link{}
}
