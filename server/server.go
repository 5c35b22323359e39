// Package server is the hub: one TUN device, many peers. It admits them, gives each its pair of addresses, forwards
// packets between the device and them, and decides which packets may pass.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tunnel/auth"
	"tunnel/defect"
	"tunnel/keyed"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/server/admission"
	"tunnel/transport"
	"tunnel/tun"
)

// Config is what a Server needs. Device, Leases and Log must be set.
type Config struct {
	Device         tun.Device    // closed by Run
	Leases         *lease.Pool   // stays open
	Tokens         *auth.Store   // stays open; nil admits everybody
	TLS            *tls.Config   // nil serves without TLS
	Path           string        // of the WebSocket
	MTU            int           // bytes; told to clients
	Qlen           int           // packets; told to clients
	Keepalive      time.Duration // told to clients
	Congestion     string        // as in transport.Dialer
	ClientToClient bool          // forward between clients
	Log            *slog.Logger  // its lines that others can cause are limited, see loglimit

	MaxConnections int            // at once; 0 is no limit
	MaxPerAddress  int            // at once from one IPv4 address or IPv6 /64, but not from this machine; 0 is no limit
	MaxMemory      int64          // bytes, of which queues and buffers may hold half together; 0 is no limit
	MaxLanes       int            // connections that one client may have at once; 0 is one
	TrustedProxies []netip.Prefix // from where X-Forwarded-For counts
	MaxSessions    int            // at once with one token that does not say so itself, lanes counted once; 0 is no limit

	// Sever ends the connections that this machine's kernel has with an address of the network, and forgets their state, before
	// another client gets the address. When it fails addresses rest for longer instead. nil, for tests, has nothing to end.
	Sever func(context.Context, netip.Addr) error

	limits *limits // nil is defaultLimits; tests have others
}

// Server is the hub. Make it with New, start it once with Run.
type Server struct {
	Config                // its Log is limited
	local    *slog.Logger // for what others cannot cause
	limited  *loglimit.Handler
	own      lease.Pair
	policy   policy
	drops    drops
	budget   *transport.Budget // of all queues
	peers    *peers
	limiter  *admission.Limiter
	bans     *admission.Bans
	refused  *refused
	foreign  foreign
	sessions sessions
	defects  defect.Log
	hinted   atomic.Bool               // the log has been told of a proxy that is not trusted
	entering keyed.Mutex[lease.Holder] // held while one who comes as that holder is admitted
	logins   logins
	severed  rate.Sometimes // limits what is said when Sever fails
}

// New returns a Server that is not running yet.
func New(c Config) *Server {
	limited := loglimit.New(c.Log.Handler())
	budget := newBudget(c.MaxMemory)
	s := &Server{
		Config: c, local: c.Log, limited: limited, own: c.Leases.Server(), peers: newPeers(budget), budget: budget,
		severed: rate.Sometimes{Interval: severLogPause},
	}
	s.Log = slog.New(limited)
	s.refused = newRefused(s.Log)
	s.foreign = foreign{s}
	if s.limits == nil {
		s.limits = defaultLimits()
	}
	s.bans = admission.NewBans(s.limits.bans, time.Now)
	s.limiter = admission.New(admission.Rules{
		Total: c.MaxConnections, PerSource: c.MaxPerAddress, Unknown: s.limits.places(s.limits.unknown, c.MaxMemory/8),
		Reserved: s.limits.places(s.limits.reserved, c.MaxMemory/32),
		Proxies:  c.TrustedProxies, Known: s.bans.Known, Plain: c.TLS == nil, Refused: s.turnedAway, Log: c.Log, Now: time.Now,
	})
	s.policy = policy{server: s.own.Local, network: c.Leases.Network(), clientToClient: c.ClientToClient, clients: s.peers}
	c.Leases.End(func(token string) bool { return errors.Is(c.Tokens.Check(token), auth.ErrRevoked) })
	c.Leases.Reserve(c.Tokens.Reserved())
	for _, a := range c.Leases.Recent(lease.LongRest) {
		s.peers.watch(a)
	}
	return s
}

// Run serves on ln until ctx ends or the device fails; the error is nil when it was ctx. All clients are told and
// gone, the listener and the device are closed, when Run returns.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	defer context.AfterFunc(parent, func() {
		s.farewell()
		cancel(&transport.CloseError{Code: transport.CodeGoingAway, Reason: "the server stops"})
	})()
	web := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handle(ctx, w, r) }),
		ReadHeaderTimeout: s.limits.request,
		ReadTimeout:       s.limits.request,
		WriteTimeout:      s.limits.request,
		IdleTimeout:       s.limits.request,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       s.connContext,
		ConnState:         s.limiter.ConnState,
		ErrorLog:          log.New(s.refused, "", 0),

		DisableGeneralOptionsHandler: true, // it would answer for a path that is not ours
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := web.Serve(s.foreign.listener(newListener(ln, s))); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("accept connections: %w", err))
		}
	})
	group.Go(func() { s.limiter.Run(ctx) })
	group.Go(func() { s.watchTokens(ctx) })
	group.Go(func() { s.watchMemory(ctx) })
	group.Go(func() { s.sweep(ctx) })
	group.Go(func() {
		if err := s.forward(); ctx.Err() == nil {
			cancel(err)
		}
	})

	<-ctx.Done()
	// A session ends by itself: its context has ended with ctx.
	_ = web.Close()
	s.sessions.wait()
	_ = s.Device.Close()
	group.Wait()
	s.drops.count(dropMemory, s.budget.Dropped())
	s.limited.Close() //nolint:contextcheck // ctx is over, and what is left to log does not hang on it
	s.local.Info("stopped", "drops", s.drops.counts(), "refused", s.refused.counts(), "defects", s.defects.Count())
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// connContext is the http.Server's hook of that name.
func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	if first, ok := c.(*firstConn); ok {
		c = first.Conn
	}
	return s.limiter.ConnContext(transport.ConnContext(ctx, c), c)
}

// handle answers a request, or makes a session of it. A panic ends that request only.
func (s *Server) handle(life context.Context, w http.ResponseWriter, r *http.Request) {
	err := s.sessions.do(func() { s.serve(life, w, r) })
	if s.defects.Note(err, s.Log.With("remote", r.RemoteAddr)) {
		http.Error(w, errDefect, http.StatusInternalServerError)
	}
}

// sweepPause is the time between two looks at what has been kept for long enough.
const sweepPause = 5 * time.Second

// sweep throws away, until ctx ends, what was kept for clients and tokens that have not come back.
func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepPause)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.drops.count(dropStale, s.peers.sweep(now))
			s.logins.sweep(now)
		case <-ctx.Done():
			return
		}
	}
}

// sessions waits for requests, and for the sessions that they have become.
type sessions struct {
	mu    sync.Mutex
	ended bool
	group sync.WaitGroup
}

// do runs f, unless wait was called. A panic of f is the error.
func (s *sessions) do(f func()) error {
	if s.begin() {
		defer s.group.Done()
		return defect.Do(f)
	}
	return nil
}

// start runs f on a goroutine of its own; false is that wait was called, and f does not run.
func (s *sessions) start(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.group.Done()
		f()
	}()
	return true
}

func (s *sessions) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.group.Add(1)
	}
	return !s.ended
}

func (s *sessions) wait() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.group.Wait()
}
