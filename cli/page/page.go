package serve

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tunnel/admin/web"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/control"
)

// webPage is the page of --web; nil without the flag.
type webPage struct {
	ln     net.Listener
	config web.Config // without the Hub
	url    string
	pin    string // of a key of the server's own
	page   *web.Page
}

// openWeb listens at --web. config is the server's TLS. The caller closes the result.
func openWeb(ctx context.Context, this machine.Machine, told *config.Serve, secure *serverTLS,
	config *tls.Config, log *slog.Logger) (*webPage, error) {
	ln, err := this.ListenAt(ctx, invocation.FlagWeb)
	if ln == nil || err != nil {
		return nil, err
	}
	w := &webPage{ln: ln, config: web.Config{Named: secure.named, Networks: told.PushRoute,
		Public: told.ReachesPublic(), Log: log}}
	if !invocation.IsLoopback(ln.Addr()) {
		w.config.TLS, w.pin = pageTLS(config), secure.pin
	}
	w.url = w.urlAt(ln.Addr(), secure.host)
	log.Info("there is a web page: `tunnel web` prints a link that logs in", "address", ln.Addr())
	return w, nil
}

// pageTLS returns the server's TLS for the page: browsers have no client certificates, and the page
// has a login.
func pageTLS(config *tls.Config) *tls.Config {
	c := config.Clone()
	c.ClientAuth, c.ClientCAs, c.GetConfigForClient = tls.NoClientCert, nil, nil
	c.NextProtos = []string{"http/1.1"}
	return c
}

// urlAt returns the URL of a page that listens at an address; host is for one that listens at all.
func (w *webPage) urlAt(at net.Addr, host string) string {
	scheme, port := "http", ""
	if w.config.TLS != nil {
		scheme = "https"
	}
	if tcp, ok := at.(*net.TCPAddr); ok {
		port = strconv.Itoa(tcp.Port)
		switch {
		case tcp.IP.Equal(net.IPv4(127, 0, 0, 1)):
			host = "localhost"
		case !tcp.IP.IsUnspecified():
			host = tcp.IP.String()
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/login"
}

// named reports whether a host, in lower case, is called by a name that this server has: that of
// --public, of --acme, or of its certificate.
func (s *serverTLS) named(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return false
	}
	return host == strings.ToLower(s.host) || slices.Contains(s.domains, host) ||
		s.files != nil && s.files.Current().Leaf.VerifyHostname(host) == nil
}

// serve serves the page of hub, whose WebSocket has that path, until the returned function is
// called. trail is told what the page changes.
func (w *webPage) serve(ctx context.Context, hub web.Hub, join control.Join,
	path string, trail web.Trail) (stop func()) {
	if w == nil {
		return func() {}
	}
	w.config.Hub, w.config.Trail = hub, trail
	w.config.Join = func(token string) string {
		url := join.URL
		if url == "" {
			url = urlOf("HOST", "", path) // only the user knows it
		}
		return invocation.ConnectLine(url, join.Pin, "--"+invocation.FlagToken, token)
	}
	w.page = web.New(w.config)
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { w.page.Serve(ctx, w.ln) })
	return func() {
		cancel()
		group.Wait()
	}
}

// link returns what makes links for `tunnel web`, nil without a page.
func (w *webPage) link() func() control.Link {
	if w == nil {
		return nil
	}
	return func() control.Link { return control.Link{URL: w.url + "#" + w.page.Code(), Pin: w.pin} }
}

// close closes the listener of a page that may not have been served.
func (w *webPage) close() {
	if w != nil {
		_ = w.ln.Close()
	}
}
