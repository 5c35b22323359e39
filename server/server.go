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

	"tunnel/auth"
	"tunnel/defect"
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
	sessions sessions
	defects  defect.Log
	hinted   atomic.Bool // the log has been told of a proxy that is not trusted
	away     parking

	// admission is held from the claim to a session until its address is known, so that of two who resume one session the
	// last has what both were given.
	admission sync.Mutex
}

// New returns a Server that is not running yet.
func New(c Config) *Server {
	limited := loglimit.New(c.Log.Handler())
	s := &Server{
		Config: c, local: c.Log, limited: limited, own: c.Leases.Server(), peers: newPeers(), budget: newBudget(c.MaxMemory),
	}
	s.Log = slog.New(limited)
	s.refused = newRefused(s.Log)
	s.away.budget = s.budget
	if s.limits == nil {
		s.limits = defaultLimits()
	}
	s.bans = admission.NewBans(s.limits.bans, time.Now)
	s.limiter = admission.New(admission.Rules{
		Total: c.MaxConnections, PerSource: c.MaxPerAddress, Unknown: s.limits.unknown, Reserved: s.limits.reserved,
		Proxies: c.TrustedProxies, Known: s.bans.Known, Plain: c.TLS == nil, Refused: s.turnedAway, Log: c.Log, Now: time.Now,
	})
	s.policy = policy{server: s.own.Local, network: c.Leases.Network(), clientToClient: c.ClientToClient, clients: s.peers}
	c.Leases.End(func(token string) bool { return errors.Is(c.Tokens.Check(token), auth.ErrRevoked) })
	c.Leases.Reserve(c.Tokens.Reserved())
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
		if err := web.Serve(transport.Listener(newListener(ln, s), s.TLS, s.limiter.Handshake)); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("accept connections: %w", err))
		}
	})
	group.Go(func() { s.limiter.Run(ctx) })
	group.Go(func() { s.watchTokens(ctx) })
	group.Go(func() { s.watchMemory(ctx) })
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
	s.limited.Close()
	s.local.Info("stopped", "drops", s.drops.counts(), "refused", s.refused.counts(), "defects", s.defects.Count())
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// connContext is the http.Server's hook of that name.
func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	return s.limiter.ConnContext(transport.ConnContext(ctx, c), c)
}

// handle answers a request, or makes a session of it. A panic ends that request only.
func (s *Server) handle(life context.Context, w http.ResponseWriter, r *http.Request) {
	err := s.sessions.do(func() { s.serve(life, w, r) })
	if s.defects.Note(err, s.Log.With("remote", r.RemoteAddr)) {
		http.Error(w, errDefect, http.StatusInternalServerError)
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
