// Package web is the web page of a hub: who is connected and how, the network as a picture, and its
// tokens. It is rendered by the server, asks nothing of anybody else, and shows nothing before a
// login. A login takes a one-time link, which only root gets; there is no password.
package web

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/defect"
	"tunnel/server"
	"tunnel/server/admission"
)

// Bounds of what those who connect may take.
const (
	maxConnections = 256 // at once
	maxUnknown     = 64  // of them before a login; also from known sources, and from this machine
	maxPerSource   = 48  // from one address (IPv6: /64)
	maxHeader      = 8 << 10
	maxForm        = 16 << 10 // bytes of a request's body
	requestTimeout = 5 * time.Second
	answerTimeout  = 20 * time.Second
	idleTimeout    = 10 * time.Second
	stopTimeout    = time.Second
)

// Hub is what the page shows and changes: a *server.Server.
type Hub interface {
	Status() status.Hub
	ListTokens() ([]server.TokenStatus, error)
	CreateToken(spec auth.Spec) (auth.Token, string, error)
	RevokeToken(name string) (auth.Token, error)
}

// Config is what a Page needs; all fields but TLS must be set.
type Config struct {
	Hub   Hub
	Trail Trail
	// TLS is nil for a listener on a loopback address.
	TLS *tls.Config
	// Named reports whether a host is called by a DNS name of this hub. Addresses are no names:
	// browsers cannot be led elsewhere by them.
	Named func(host string) bool
	// Join returns the command that joins a machine by a token.
	Join func(token string) string
	// Networks returns the networks behind this machine that are open to all clients, and whether the
	// internet is as well.
	Networks func() (all []netip.Prefix, public bool)
	Log      *slog.Logger // of lines that others can cause
}

// Page is a web page. Make it with New, start it once with Serve.
type Page struct {
	Config
	templates *template.Template
	logins    logins
	limiter   *admission.Limiter
	sampler   sampler
	defects   defect.Log
}

// New returns a Page that is not served yet.
func New(c Config) *Page {
	p := &Page{Config: c, templates: parsed(), sampler: sampler{hub: c.Hub}}
	p.limiter = admission.New(admission.Rules{Total: maxConnections, PerSource: maxPerSource,
		Unknown: maxUnknown, Reserved: maxUnknown, Known: p.logins.knows,
		Refused: func(admission.Reason, netip.Addr) {}, Log: c.Log.With("at", "web page"),
		Now: time.Now})
	return p
}

// Code returns a new code that logs in once, within CodeLife.
func (p *Page) Code() string { return p.logins.newCode(time.Now()) }

// Serve answers on ln until ctx ends. It closes ln, and returns when no request is being answered,
// or after twice stopTimeout.
func (p *Page) Serve(ctx context.Context, ln net.Listener) {
	handler := p.handler()
	var busy sync.WaitGroup
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			busy.Add(1)
			defer busy.Done()
			if p.defects.Note(defect.Do(func() { handler.ServeHTTP(w, r) }), p.Log) {
				http.Error(w, "a defect of this program", http.StatusInternalServerError)
			}
		}),
		ReadHeaderTimeout: requestTimeout, // also of a TLS handshake
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       p.limiter.ConnContext,
		ConnState:         p.limiter.ConnState,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true,
	}
	ln = &admitted{ln, p.limiter}
	if p.TLS != nil {
		ln = tls.NewListener(ln, paced(p.TLS, p.limiter))
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if web.Shutdown(last) != nil {
			_ = web.Close()
			p.await(&busy)
		}
	})
	attacks, over := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { p.limiter.Run(attacks) })
	err := web.Serve(ln)
	if !stop() {
		<-ended
	}
	over()
	group.Wait()
	if !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		p.Log.Error("the web page ended: nothing is answered there any more", "err", err)
	}
}

// await waits up to stopTimeout for requests whose connections were closed: the hub's state is
// closed next.
func (p *Page) await(busy *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { busy.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopTimeout):
		p.Log.Error("the web page ends in the middle of a request")
	}
}

// admitted returns only connections that the limiter admits.
type admitted struct {
	net.Listener
	limiter *admission.Limiter
}

func (a *admitted) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err != nil || a.limiter.Admit(c) {
			return c, err
		}
		admission.Abort(c)
	}
}

// paced returns config with handshakes of unknown sources in the limiter's share of processor time.
func paced(config *tls.Config, limiter *admission.Limiter) *tls.Config {
	config = config.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		end, err := limiter.Handshake(hello.Conn.RemoteAddr())
		if err == nil {
			end() // charged as what it costs at least
		}
		return nil, err
	}
	return config
}

//go:embed static
var static embed.FS

// handler returns the handler of all requests.
func (p *Page) handler() http.Handler {
	mux := http.NewServeMux()
	files, _ := fs.Sub(static, "static") // the name is valid
	for _, name := range []string{"style.css", "page.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.HandleFunc("GET /login", p.showLogin)
	mux.HandleFunc("POST /login", p.login)
	for pattern, answer := range map[string]answer{
		"GET /s/{place}/{$}":                   p.showOverview,
		"GET /s/{place}/live":                  p.showLive,
		"GET /s/{place}/audit":                 p.showTrail,
		"GET /s/{place}/tokens":                p.showTokens,
		"POST /s/{place}/tokens":               p.makeToken,
		"GET /s/{place}/tokens/{name}/revoke":  p.askRevoke,
		"POST /s/{place}/tokens/{name}/revoke": p.revokeToken,
		"POST /s/{place}/logout":               p.logout,
		"POST /s/{place}/logout/all":           p.logoutAll,
	} {
		mux.HandleFunc(pattern, p.private(answer))
	}
	mux.Handle("GET /{$}", http.RedirectHandler("/login", http.StatusSeeOther))
	return p.guarded(mux)
}
