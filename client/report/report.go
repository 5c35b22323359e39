// Package report keeps what a client's status says beside its counters: which session there is, or
// why there is none, and what this machine takes of the server's networks and names.
package report

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/dns"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/fq/meter"
	"tunnel/transport/ws"
)

// Live is what a client has at one moment.
type Live struct {
	Conns     []*ws.Conn // of the session; none while there is none
	Interface string     // by which packets leave to the server; "" if not known
	Past      status.Traffic
	Queue     *fq.Subflows
	Drops     *policy.Drops
	Meter     *meter.Meter // of the packets to the hub and from it
}

// Recorder records a client's events. Its methods may be called concurrently.
type Recorder struct {
	// Took is called when a session has begun, with how long each step took; may be nil.
	Took func(map[transport.Step]time.Duration)

	live func() Live // set before the first Status

	mu  sync.Mutex
	now status.Client // guarded by mu, as below; without what Live has
	up  time.Time     // when the device was last up
	had status.Bytes  // then
	why string        // the last reason for which there was no session
}

// New returns the Recorder of a client that starts now, of which first has what the flags say.
func New(first status.Client) *Recorder {
	first.Started = time.Now()
	first.State, first.Since = status.Connecting, first.Started
	forget(&first)
	return &Recorder{now: first}
}

// Begin has Status ask live for connections and counters.
func (r *Recorder) Begin(live func() Live) { r.live = live }

// change changes what is known under the lock.
func (r *Recorder) change(f func(now *status.Client)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.now)
}

// Connected records the begin of a session.
func (r *Recorder) Connected(l transport.Link) {
	conns := r.live().Conns
	r.change(func(now *status.Client) {
		if len(conns) > 0 {
			now.Server = transport.Readable(conns[0].Via().Server)
		}
		now.State, now.Since, now.Reason = status.Connected, time.Now(), ""
		now.Address, now.Peer, now.Network, now.MTU = l.Address, l.Peer, l.Network, l.MTU
	})
	if len(conns) > 0 && r.Took != nil {
		r.Took(conns[0].Via().Took.Steps())
	}
}

// Lost records the end of a session.
func (r *Recorder) Lost(reason error) {
	r.change(func(now *status.Client) {
		now.State, now.Since, now.Reason = status.Connecting, time.Now(), text(reason)
		r.why = Why(reason)
		now.Lost++
	})
}

// Waits records why an attempt has failed.
func (r *Recorder) Waits(reason error) {
	r.change(func(now *status.Client) { now.Reason = text(reason); r.why = Why(reason) })
}

// Routes records which networks behind the server are taken and refused.
func (r *Recorder) Routes(taken, refused []netip.Prefix) {
	r.change(func(now *status.Client) {
		now.Routes = status.Routes{Taken: list(taken), Refused: list(refused)}
	})
}

// Names records which of the server's DNS settings are used, or why they cannot be.
func (r *Recorder) Names(names dns.Config, err error) {
	r.change(func(now *status.Client) {
		now.DNS = dnsOf(names)
		if err != nil {
			now.DNS = dnsOf(dns.Config{})
			now.DNS.Problem = text(err)
		}
	})
}

// Up records that the device has an address.
func (r *Recorder) Up() {
	had := r.Status().Bytes
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.had, r.why = time.Now(), had, ""
}

// SinceUp returns when the device was last up, what has crossed the tunnel from then on, and why
// there is no session or was none last, see Why; "" if there always was one.
func (r *Recorder) SinceUp() (up time.Time, crossed status.Bytes, why string) {
	now := r.Status().Bytes
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up, status.Bytes{Sent: now.Sent - r.had.Sent, Received: now.Received - r.had.Received},
		r.why
}

// Down records that the device has lost what the last session gave it.
func (r *Recorder) Down() {
	r.change(func(now *status.Client) { forget(now) })
}

func forget(now *status.Client) {
	now.Routes = status.Routes{Taken: list[netip.Prefix](nil), Refused: list[netip.Prefix](nil)}
	now.DNS = dnsOf(dns.Config{})
}

func dnsOf(names dns.Config) status.DNS {
	return status.DNS{Servers: list(names.Servers), Domains: list(names.Domains), All: names.All}
}

// list returns a copy of all that is not nil, which is an empty list in JSON.
func list[T any](all []T) []T { return append([]T{}, all...) }

// text returns an error for people to read. It has no token: the server, which knows that of this
// client, may send it back as its reason to close.
func text(err error) string { return string(auth.Redact([]byte(err.Error()))) }

// Status returns the client's status.
func (r *Recorder) Status() status.Client {
	live := r.live()
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	now.Traffic, now.Connections = live.Past, []status.Connection{}
	for i, conn := range live.Conns {
		c := status.Of(i, conn.Wire())
		now.Connections = append(now.Connections, c)
		now.Add(c.Traffic())
	}
	if len(live.Conns) > 0 {
		first := live.Conns[0]
		via := first.Via()
		now.Path = &status.Path{Interface: live.Interface, Local: first.Local(),
			Remote: first.Hop(), Proxy: via.Proxy()}
	}
	now.Queued = live.Queue.Held()
	now.Drops = live.Drops.Counts(policy.ClientReasons())
	lost := live.Queue.Drops()
	status.AddDrops(now.Drops, lost)
	now.Delays = status.DelaysOf(lost.Delays)
	return now
}

// Flows measures the client's flows for that time, or until ctx ends, which is an error.
func (r *Recorder) Flows(ctx context.Context, during time.Duration) (status.Flows, error) {
	m, err := r.live().Meter.Measure(ctx, during)
	if err != nil {
		return status.Flows{}, err
	}
	flows := status.FlowsOf(m, func(netip.Addr) string { return "" })
	flows.Dev = r.now.Dev // which never changes
	return flows, nil
}
