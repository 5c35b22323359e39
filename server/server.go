// Package server is the hub: one TUN device, many peers. It admits them, gives each its pair of
// addresses, forwards packets between the device and them, and decides which packets may pass.
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

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/defect"
	"tunnel/keyed"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/policy"
	"tunnel/server/admission"
	"tunnel/server/foreign"
	"tunnel/server/networks"
	"tunnel/server/peers"
	"tunnel/server/sessions"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/tun"
)

// Config is what a Server needs. Device, Leases, Auth, Sever and Log must be set.
type Config struct {
	Device         tun.Device    // closed by Run
	Leases         *lease.Pool   // stays open
	Auth           Authenticator // stays open
	TLS            *tls.Config   // nil serves without TLS
	Path           string        // of the WebSocket
	MTU            int           // bytes; told to clients
	Qlen           int           // packets; told to clients
	Keepalive      time.Duration // told to clients
	Congestion     string        // as in ws.Dialer
	Version        string        // of the program, for Status
	ClientToClient bool          // forward between clients
	Log            *slog.Logger  // lines that clients can cause are limited, see loglimit

	MaxConnections int // at once; 0 is no limit
	// at once from one IPv4 address or IPv6 /64, but not from this machine; 0 is no limit
	MaxPerAddress int
	// bytes; queues and buffers together may hold half of it; 0 is no limit
	MaxMemory      int64
	MaxLanes       int            // connections that one client may have at once; 0 is one
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is trusted
	// at once with a token without a limit of its own, lanes counted once; 0 is no limit
	MaxSessions int

	Site networks.Site // networks behind this machine

	// Sever has this machine's kernel end and forget connections with addresses, before another client
	// gets these. If it fails, addresses stay idle for longer before they change hands.
	Sever func(context.Context, ...netip.Prefix) error

	// Admitted is called when a session begins, with the time since its connection was accepted; may
	// be nil.
	Admitted func(after time.Duration)

	// Record is told what the audit log has of sessions and logins. It must not wait; may be nil.
	Record func(audit.Entry)

	// ProxyHint is the advice in the log about a proxy that is not among TrustedProxies.
	ProxyHint string

	limits *limits // nil is defaultLimits; tests have others
}

// Server is the hub. Make it with New, start it once with Run.
type Server struct {
	Config    // its Log is limited
	began     time.Time
	local     *slog.Logger // for lines that clients cannot cause
	limited   *loglimit.Handler
	own       lease.Pair
	policy    policy.Hub
	drops     policy.Drops
	budget    *fq.Budget // of all queues
	peers     *peers.Table
	limiter   *admission.Limiter
	bans      *admission.Bans
	refused   admission.Refusals
	sessions  sessions.Group
	defects   defect.Log
	hinted    atomic.Bool               // an untrusted proxy was logged
	attaching keyed.Mutex[lease.Holder] // held while a client is attached as that holder
	logins    admission.Logins
	severed   rate.Sometimes // limits log lines about failures of Sever
	networks  *networks.Networks
	answers   *networks.Answers
}

// New returns a Server that is not running yet. The error names the field of c that must be set
// and is not: without Auth everybody would be admitted, and without Sever an address would change
// hands together with its former owner's connections.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	limited := loglimit.New(c.Log.Handler())
	budget := newBudget(c.MaxMemory)
	s := &Server{
		Config: c, local: c.Log, limited: limited, own: c.Leases.Server(), budget: budget,
		severed: rate.Sometimes{Interval: severLogPause}, began: time.Now(),
	}
	s.Log = slog.New(limited)
	if s.limits == nil {
		s.limits = defaultLimits()
	}
	s.peers = peers.NewTable(budget, s.limits.now)
	tokens, _ := s.tokens() // or none
	s.networks = networks.New(networks.Config{Site: c.Site, Together: c.ClientToClient,
		Leases: c.Leases, Peers: s.peers, Tokens: tokens, Now: s.limits.now, Log: s.Log})
	s.bans = admission.NewBans(s.limits.bans, time.Now)
	s.limiter = admission.New(admission.Rules{
		Total: c.MaxConnections, PerSource: c.MaxPerAddress,
		Unknown:  s.limits.capacity(s.limits.unknown, c.MaxMemory/8),
		Reserved: s.limits.capacity(s.limits.reserved, c.MaxMemory/32),
		Proxies:  c.TrustedProxies, Known: s.bans.Known, Refused: s.turnedAway, Log: c.Log,
		Now: time.Now,
	})
	s.policy = policy.Hub{
		Server: s.own.Local, Network: c.Leases.Network(), ClientToClient: c.ClientToClient,
		Public: c.Site.Public, Member: s.peers.Member,
	}
	s.answers = networks.NewAnswers(c.Device, s.own, s.policy.Network)
	c.Leases.End(func(token string) bool { return errors.Is(c.Auth.Check(token), auth.ErrRevoked) })
	c.Leases.Reserve(c.Auth.Reserved())
	for _, a := range c.Leases.Recent(lease.LongRest) {
		s.peers.Watch(a)
	}
	return s, nil
}

// check returns an error that names the first field that must be set and is not.
func (c *Config) check() error {
	store, tokens := c.Auth.(*auth.Store)
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"Device", c.Device == nil},
		{"Leases", c.Leases == nil},
		{"Auth", c.Auth == nil || tokens && store == nil},
		{"Sever", c.Sever == nil},
		{"Log", c.Log == nil},
	} {
		if field.missing {
			return fmt.Errorf("server: Config.%s is not set", field.name)
		}
	}
	return nil
}

// Run serves on ln until ctx ends, and then returns nil, or until the device fails. When Run
// returns all clients have been told and disconnected, and the listener and the device are closed.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	defer context.AfterFunc(parent, func() {
		s.peers.Drain()
		cancel(&transport.CloseError{Code: transport.CodeGoingAway, Reason: "the server stops"})
	})()
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.handle(ctx, w, r)
		}),
		ReadHeaderTimeout: s.limits.request,
		ReadTimeout:       s.limits.request,
		WriteTimeout:      s.limits.request,
		IdleTimeout:       s.limits.request,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       s.connContext,
		ConnState:         s.limiter.ConnState,
		ErrorLog:          log.New(httpLog{s.Log}, "", 0),

		DisableGeneralOptionsHandler: true, // it would answer OPTIONS for other paths
	}
	var group sync.WaitGroup
	group.Go(func() {
		first := foreign.Watch{Plain: s.TLS == nil, Log: s.Log}
		admitted, err := newListener(ln, s)
		if err == nil {
			gated := tcp.Listener(admitted, first.TLS(s.TLS), s.limiter.Handshake)
			err = web.Serve(first.Listener(gated))
		}
		if !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("accept connections: %w", err))
		}
	})
	for _, watch := range []func(context.Context){
		s.limiter.Run, s.watchTokens, s.watchMemory, s.networks.Run, s.answers.Run, s.sweep,
	} {
		group.Go(func() { s.keepRunning(ctx, watch) })
	}
	group.Go(func() {
		if err := s.forward(); ctx.Err() == nil {
			cancel(err)
		}
	})

	<-ctx.Done()
	// A session ends by itself: its context has ended with ctx.
	_ = web.Close()
	s.sessions.Wait()
	_ = s.Device.Close()
	group.Wait()
	s.limited.Close() //nolint:contextcheck // ctx is over, and what is left to log does not hang on it
	s.local.Info("stopped", "drops", policy.Log(s.Status().Drops, policy.HubReasons()), "refused",
		s.refused.Log(), "defects", s.defects.Count())
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// keepRunning runs f until ctx ends, again after each panic.
func (s *Server) keepRunning(ctx context.Context, f func(context.Context)) {
	for s.defects.Note(defect.Do(func() { f(ctx) }), s.Log) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartPause):
		}
	}
}

// connContext is the http.Server's hook of that name.
func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	c = foreign.Beneath(c)
	return s.limiter.ConnContext(tcp.ConnContext(ctx, c), c)
}

// handle answers a request, or makes a session of it. A panic ends that request only.
func (s *Server) handle(life context.Context, w http.ResponseWriter, r *http.Request) {
	err := s.sessions.Do(func() { s.serve(life, w, r) })
	if s.defects.Note(err, s.Log.With("remote", r.RemoteAddr)) {
		http.Error(w, errDefect, http.StatusInternalServerError)
	}
}

// sweepPause is the time between two sweeps.
const sweepPause = 5 * time.Second

// sweep discards expired state of disconnected clients and unused tokens, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepPause)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.drops.Count(policy.Stale, s.peers.Sweep())
			s.logins.Sweep(now)
			s.networks.Forget(func(h lease.Holder) bool {
				return !s.peers.Knows(h) || s.Auth.Check(h.Token) != nil
			})
			s.networks.Settle()
		case <-ctx.Done():
			return
		}
	}
}
