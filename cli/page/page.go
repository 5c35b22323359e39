// Package page is the web page of `tunnel serve --web`: where it listens, by which names it is
// called, and the links to it.
package page

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"tunnel/admin/web"
	"tunnel/certs"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/control"
)

// Identity is how browsers know a server.
type Identity struct {
	TLS  *tls.Config // nil for none
	Host string      // by which clients reach the server; "" if it is not known
	// Domains are those for which certificates are obtained.
	Domains []string
	// Current returns the certificate in use; nil if Domains have one each.
	Current func() *x509.Certificate
	Signed  bool // an authority is to have signed Current
	// ClientCA reports whether clients need a certificate.
	ClientCA bool
}

// names returns all names of the server, in lower case. Those of a wildcard are not its own: others
// may have one.
func (i Identity) names() []string {
	all := append([]string{i.Host}, i.Domains...)
	if i.Current != nil {
		all = append(all, i.Current().DNSNames...)
	}
	for j, name := range all {
		all[j] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return slices.DeleteFunc(all, func(name string) bool {
		_, err := netip.ParseAddr(name)
		return err == nil || name == "" || strings.Contains(name, "*")
	})
}

// covers reports whether the certificate is for a host.
func (i Identity) covers(host string) bool {
	if i.Current != nil {
		return i.Current().VerifyHostname(host) == nil
	}
	return slices.Contains(i.Domains, host)
}

// Page is a server's page; nil without --web.
type Page struct {
	ln       net.Listener
	identity Identity
	config   web.Config // without the Hub
	host     string     // in links
	url      string
	told     atomic.Pointer[config.Serve]
	page     *web.Page
}

// Open listens at --web. The caller closes the result.
func Open(ctx context.Context, this machine.Machine, told *config.Serve, identity Identity,
	log *slog.Logger) (*Page, error) {
	ln, err := this.ListenAt(ctx, invocation.FlagWeb)
	if ln == nil || err != nil {
		return nil, err
	}
	return newPage(ln, told, identity, log), nil
}

func newPage(ln net.Listener, told *config.Serve, identity Identity, log *slog.Logger) *Page {
	p := &Page{ln: ln, identity: identity}
	p.told.Store(told)
	p.config = web.Config{Log: log, Named: p.named, Networks: p.networks}
	if !invocation.IsLoopback(ln.Addr()) {
		p.config.TLS = forBrowsers(identity.TLS)
		if identity.ClientCA {
			log.Warn("the web page is open to browsers without a certificate of --client-ca, and " +
				"only its login protects it: give --web 127.0.0.1:PORT, or an address in the tunnel")
		}
	}
	p.host, p.url = p.urlAt(ln.Addr())
	log.Info("there is a web page: `tunnel web` prints a link that logs in", "url", p.url)
	return p
}

// forBrowsers returns the server's TLS for the page: browsers have no client certificates, and the
// page has a login.
func forBrowsers(config *tls.Config) *tls.Config {
	c := config.Clone()
	c.ClientAuth, c.ClientCAs, c.GetConfigForClient = tls.NoClientCert, nil, nil
	c.NextProtos = []string{"http/1.1"}
	return c
}

// named reports whether a host, in lower case, is one of the server's names.
func (p *Page) named(host string) bool {
	return slices.Contains(p.identity.names(), strings.TrimSuffix(host, "."))
}

// networks returns what is behind this machine, see web.Config.
func (p *Page) networks() (all []netip.Prefix, public bool) {
	told := p.told.Load()
	return told.PushRoute, told.ReachesPublic()
}

// Reload has the page show another configuration.
func (p *Page) Reload(told *config.Serve) {
	if p != nil {
		p.told.Store(told)
	}
}

// urlAt returns the host and the URL of a page that listens at an address. It is that address:
// browsers take localhost for ::1 first, where another user may listen.
func (p *Page) urlAt(at net.Addr) (host, url string) {
	scheme, port := "http", ""
	if p.config.TLS != nil {
		scheme = "https"
	}
	host = p.identity.Host
	if tcp, ok := at.(*net.TCPAddr); ok {
		port = strconv.Itoa(tcp.Port)
		if !tcp.IP.IsUnspecified() {
			host = tcp.IP.String()
		} else if names := p.identity.names(); !p.identity.covers(host) && len(names) > 0 {
			host = names[0]
		}
	}
	return host, scheme + "://" + net.JoinHostPort(host, port) + "/login"
}

// Serve serves the page of hub, whose WebSocket has that path, until the returned function is
// called. trail is told what the page changes.
func (p *Page) Serve(ctx context.Context, hub web.Hub, join control.Join,
	trail web.Trail) (stop func()) {
	if p == nil {
		return func() {}
	}
	p.config.Hub, p.config.Trail = hub, trail
	p.config.Join = func(token string) string {
		return invocation.ConnectLine(join.URL, join.Pin, "--"+invocation.FlagToken, token)
	}
	p.page = web.New(p.config)
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { p.page.Serve(ctx, p.ln) })
	return func() {
		cancel()
		group.Wait()
	}
}

// Links returns what makes links for `tunnel web`, nil without a page. It is for after Serve.
func (p *Page) Links() func() control.Link {
	if p == nil {
		return nil
	}
	return p.link
}

// link returns a link, with what proves the certificate to a person if the browser will warn of it.
func (p *Page) link() control.Link {
	l := control.Link{URL: p.url + "#" + p.page.Code()}
	i := p.identity
	if p.config.TLS == nil || i.Signed && i.covers(p.host) {
		return l
	}
	if names := i.names(); i.Signed && len(names) > 0 {
		l.Name = names[0]
	}
	if i.Current != nil {
		cert := i.Current()
		sum := sha256.Sum256(cert.Raw)
		l.Certificate, l.Pin = hex.EncodeToString(sum[:]), certs.PinOf(cert).String()
	}
	return l
}

// Close closes the listener of a page that may not have been served.
func (p *Page) Close() {
	if p != nil {
		_ = p.ln.Close()
	}
}
