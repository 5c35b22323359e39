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
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/defect"
	"tunnel/server"
	"tunnel/server/admission"
)

// Bounds of what those who connect may take.
const (
	maxConnections = 64 // at once; more wait to be accepted
	acceptRate     = 50 // connections a second, each of which may cost a TLS handshake
	acceptBurst    = 100
	maxHeader      = 8 << 10
	maxForm        = 16 << 10 // bytes of a request's body
	maxSources     = 1024     // whose failed logins are remembered
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

// Config is what a Page needs; all fields but TLS and Networks must be set.
type Config struct {
	Hub   Hub
	Trail Trail
	// TLS is nil for a listener on a loopback address.
	TLS *tls.Config
	// Named reports whether a host is called by a DNS name of this hub. Addresses and localhost are
	// no names: browsers cannot be led elsewhere by them.
	Named func(host string) bool
	// Join returns the command that joins a machine by a token.
	Join func(token string) string
	// Networks are behind this machine, and open to all clients; with Public the internet is as well.
	Networks []netip.Prefix
	Public   bool
	Log      *slog.Logger // of lines that others can cause
}

// Page is a web page. Make it with New, start it once with Serve.
type Page struct {
	Config
	templates *template.Template
	logins    logins
	bans      *admission.Bans
	sampler   sampler
	defects   defect.Log
}

// New returns a Page that is not served yet.
func New(c Config) *Page {
	rules := admission.DefaultBanRules()
	rules.Sources = maxSources
	return &Page{Config: c, templates: parsed(), bans: admission.NewBans(rules, time.Now),
		sampler: sampler{hub: c.Hub}}
}

// Code returns a new code that logs in once, within CodeLife.
func (p *Page) Code() string { return p.logins.newCode(time.Now()) }

// Serve answers on ln until ctx ends. It closes ln, and returns when no request is being answered.
func (p *Page) Serve(ctx context.Context, ln net.Listener) {
	handler := p.handler()
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true,
	}
	ln = &paced{netutil.LimitListener(ln, maxConnections), ctx,
		rate.NewLimiter(acceptRate, acceptBurst)}
	if p.TLS != nil {
		ln = tls.NewListener(ln, p.TLS)
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if web.Shutdown(last) != nil {
			_ = web.Close()
		}
	})
	err := web.Serve(ln)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		p.Log.Error("the web page ended: nothing is answered there any more", "err", err)
	}
}

// paced accepts no more than a rate of connections.
type paced struct {
	net.Listener
	ctx   context.Context //nolint:containedctx // of Serve
	limit *rate.Limiter
}

func (p *paced) Accept() (net.Conn, error) {
	if err := p.limit.Wait(p.ctx); err != nil {
		return nil, http.ErrServerClosed
	}
	return p.Listener.Accept()
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
		"GET /{$}":                   p.showOverview,
		"GET /live":                  p.showLive,
		"GET /audit":                 p.showTrail,
		"GET /tokens":                p.showTokens,
		"POST /tokens":               p.makeToken,
		"GET /tokens/{name}/revoke":  p.askRevoke,
		"POST /tokens/{name}/revoke": p.revokeToken,
		"POST /logout":               p.logout,
	} {
		mux.HandleFunc(pattern, p.private(answer))
	}
	return p.guarded(mux)
}
