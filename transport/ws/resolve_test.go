package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"nhooyr.io/websocket"

	"tunnel/transport"
	"tunnel/transport/dial"
)

// webSockets serves WebSockets of ours on an address and a port, "0" for any, and returns the port.
func webSockets(t *testing.T, address, port string) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(address, port))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r,
				&websocket.AcceptOptions{Subprotocols: []string{transport.Subprotocol}})
			if err != nil {
				return
			}
			_, _, _ = ws.Read(r.Context())
			_ = ws.CloseNow()
		})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = web.Close()
		<-done
	})
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// to returns a Dialer for a host and a port, which asks z for names.
func (z *zone) to(t *testing.T, host, port string) *Dialer {
	t.Helper()
	u, err := transport.ParseURL("ws://" + net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	return &Dialer{Dialer: dial.Dialer{URL: u, Resolver: z.resolver(t)}}
}

// soon bounds a dial that waits for no time-out of the resolver, whose least is 5 s.
const soon = 4 * time.Second

// dials dials and returns the address that was reached, and after how long.
func dials(t *testing.T, d *Dialer) (netip.Addr, time.Duration) {
	t.Helper()
	began := time.Now()
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	hop := c.Hop()
	c.Close(transport.CodeNormal, "")
	return hop, time.Since(began)
}

const name = "server.example."

// A resolver that leaves one of its two questions unanswered, or answers it wrongly, does not keep
// a client away: each family is good by itself (RFC 8305 section 3).
func TestOneFamilyResolves(t *testing.T) {
	port := webSockets(t, "127.0.0.1", "0")
	webSockets(t, "::1", port)
	const a, aaaa = dnsmessage.TypeA, dnsmessage.TypeAAAA
	both := map[string][]string{name: {"127.0.0.1", "::1"}}
	for title, test := range map[string]struct {
		zone *zone
		want string
	}{
		"AAAA is dropped": {&zone{hosts: map[string][]string{name: {"127.0.0.1"}},
			mute: map[dnsmessage.Type]bool{aaaa: true}}, "127.0.0.1"},
		"A is dropped": {&zone{hosts: map[string][]string{name: {"::1"}},
			mute: map[dnsmessage.Type]bool{a: true}}, "::1"},
		"AAAA is dropped, there are both": {&zone{hosts: both,
			mute: map[dnsmessage.Type]bool{aaaa: true}}, "127.0.0.1"},
		"A is dropped, there are both": {&zone{hosts: both,
			mute: map[dnsmessage.Type]bool{a: true}}, "::1"},
		"AAAA fails": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{aaaa: dnsmessage.RCodeServerFailure}},
			"127.0.0.1"},
		"A fails": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{a: dnsmessage.RCodeServerFailure}}, "::1"},
		"AAAA is not implemented": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{aaaa: dnsmessage.RCodeNotImplemented}},
			"127.0.0.1"},
		"AAAA is refused": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{aaaa: dnsmessage.RCodeRefused}}, "127.0.0.1"},
		"there is no such name, for AAAA": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{aaaa: dnsmessage.RCodeNameError}},
			"127.0.0.1"},
		"there is no such name, for A": {&zone{hosts: both,
			odd: map[dnsmessage.Type]dnsmessage.RCode{a: dnsmessage.RCodeNameError}}, "::1"},
		"all is well, and ::1 goes before": {&zone{hosts: both}, "::1"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got, took := dials(t, test.zone.to(t, "server.example", port))
			if got != netip.MustParseAddr(test.want) || took > soon {
				t.Errorf("reached %s after %v; want %s", got, took, test.want)
			}
		})
	}
}

// Of twenty addresses the last one is enough.
func TestLastOfManyAddresses(t *testing.T) {
	var many []string
	for i := range 19 {
		many = append(many, fmt.Sprintf("127.9.1.%d", i+1)) // no server listens there
	}
	port := webSockets(t, "127.9.2.1", "0")
	z := &zone{hosts: map[string][]string{name: append(many, "127.9.2.1")}}
	if got, took := dials(t, z.to(t, "server.example", port)); got != netip.MustParseAddr(
		"127.9.2.1") || took > soon {
		t.Errorf("reached %s after %v", got, took)
	}
}

// The last known address is used only when the name server does not answer; addresses that arrive
// later are preferred.
func TestKnownAddress(t *testing.T) {
	port := webSockets(t, "127.0.0.1", "0")
	z := &zone{hosts: map[string][]string{name: {"127.0.0.1"}}}
	d := z.to(t, "server.example", port)
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.Known = c.Known()
	c.Close(transport.CodeNormal, "")
	if len(d.Known) != 1 || d.Known["server.example"] != netip.MustParseAddr("127.0.0.1") {
		t.Fatalf("known: %v", d.Known)
	}

	t.Run("the name server is silent", func(t *testing.T) {
		z.silence()
		if got, took := dials(t, d); got != netip.MustParseAddr("127.0.0.1") ||
			took < time.Second || took > soon {
			t.Errorf("reached %s after %v", got, took)
		}
	})
	t.Run("there is no such name any more", func(t *testing.T) {
		gone := (&zone{}).to(t, "server.example", port)
		gone.Known = d.Known
		if got, took := dials(t, gone); got != netip.MustParseAddr("127.0.0.1") || took > soon {
			t.Errorf("reached %s after %v", got, took)
		}
	})
	t.Run("the name has moved", func(t *testing.T) {
		webSockets(t, "127.9.3.1", port)
		moved := (&zone{hosts: map[string][]string{name: {"127.9.3.1"}}}).to(t, "server.example",
			port)
		moved.Known = d.Known
		if got, took := dials(t, moved); got != netip.MustParseAddr("127.9.3.1") || took > soon {
			t.Errorf("reached %s after %v", got, took)
		}
	})
	t.Run("the name leads nowhere", func(t *testing.T) {
		wrong := (&zone{hosts: map[string][]string{name: {"127.9.3.9"}}}).to(t, "server.example",
			port)
		wrong.Known = d.Known
		if got, took := dials(t, wrong); got != netip.MustParseAddr("127.0.0.1") || took > soon {
			t.Errorf("reached %s after %v", got, took)
		}
	})
	t.Run("nobody is there any more", func(t *testing.T) {
		dead := (&zone{}).to(t, "server.example", port)
		dead.Known = map[string]netip.Addr{"server.example": netip.MustParseAddr("127.9.3.9")}
		_, err := dead.Dial(t.Context())
		var step *transport.StepError
		if !errors.As(err, &step) || step.Step != transport.StepName ||
			!strings.Contains(err.Error(), "no such host (nor does the address of last time do: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it is of another name", func(t *testing.T) {
		other := (&zone{}).to(t, "other.example", port)
		other.Known = d.Known
		if _, err := other.Dial(t.Context()); err == nil {
			t.Error("connected")
		}
	})
}

// When the name server is slow, another host may have the last known address: then the addresses of
// the name are tried.
func TestKnownAddressIsSomebodyElse(t *testing.T) {
	port := webSockets(t, "127.9.4.2", "0")
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.9.4.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{hosts: map[string][]string{name: {"127.9.4.2"}},
		mute: map[dnsmessage.Type]bool{dnsmessage.TypeA: true, dnsmessage.TypeAAAA: true}}
	web := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			z.mu.Lock()
			defer z.mu.Unlock()
			z.mute = nil
			http.NotFound(w, r)
		})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(ln)
	}()
	defer func() {
		_ = web.Close()
		<-done
	}()
	d := z.to(t, "server.example", port)
	d.Known = map[string]netip.Addr{"server.example": netip.MustParseAddr("127.9.4.1")}
	if got, took := dials(t, d); got != netip.MustParseAddr("127.9.4.2") {
		t.Errorf("reached %s after %v", got, took)
	}
}

// The name of a proxy is looked up in the same way, and so is the server's where SOCKS5 wants its
// address.
func TestKnownAddressOfProxy(t *testing.T) {
	z := &zone{}
	d := z.to(t, "server.example", "80")
	z.silence()
	d.Known = map[string]netip.Addr{"proxy.example": netip.MustParseAddr("127.0.0.1"),
		"server.example": netip.MustParseAddr("127.9.5.1")}
	for _, scheme := range []string{"http", "socks5"} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan string, 1)
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				asked <- err.Error()
				return
			}
			defer func() { _ = conn.Close() }()
			buf := make([]byte, 1000)
			n, _ := conn.Read(buf)
			if scheme == "socks5" {
				_, _ = conn.Write([]byte{5, 0})
				n, _ = conn.Read(buf)
			}
			asked <- string(buf[:n])
		}()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		d.Proxy = func(*url.URL) (*url.URL,
			error) {
			return url.Parse(scheme + "://proxy.example:" + port)
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		_, err = d.Dial(ctx)
		cancel()
		_ = ln.Close()
		want := map[string]string{"http": "CONNECT server.example:80 ",
			"socks5": "\x05\x01\x00\x01\x7f\x09\x05\x01\x00\x50"}[scheme]
		if got := <-asked; !strings.HasPrefix(got, want) || err == nil {
			t.Errorf("%s: the proxy was asked %q; want %q (%v)", scheme, got, want, err)
		}
	}
}

// The end of the caller's context during a lookup is the end of the dial, with its cause, and never
// no error at all.
func TestLookupCancelled(t *testing.T) {
	z := &zone{}
	d := z.to(t, "server.example", "80")
	z.silence()
	gone := errors.New("the caller has gone")
	for range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(gone) })
		if c, err := d.Dial(ctx); c != nil || !errors.Is(err, gone) {
			t.Fatalf("Dial returns %v, %v", c, err)
		}
		if hops, err := d.Hops(ctx); hops != nil || !errors.Is(err, gone) {
			t.Fatalf("Hops returns %v, %v", hops, err)
		}
	}
}

// An internationalised name is looked up, and told to the server, in ASCII; a person reads what was
// given.
func TestInternationalName(t *testing.T) {
	z := &zone{hosts: map[string][]string{"xn--bcher-kva.example.": {"127.0.0.1"}}}
	hosts := make(chan string, 1)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hosts <- r.Host
			http.NotFound(w, r)
		})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(ln)
	}()
	defer func() {
		_ = web.Close()
		<-done
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, given := range []string{"bücher.example", "BÜCHER.example", "b%C3%BCcher.example",
		"xn--bcher-kva.example"} {
		d := z.to(t, given, port)
		_, err := d.Dial(t.Context())
		var step *transport.StepError
		if !errors.As(err, &step) || step.Step != transport.StepHTTP {
			t.Fatalf("%s: %v", given, err)
		}
		if got := <-hosts; got != "xn--bcher-kva.example:"+port {
			t.Errorf("%s: the server was asked for %s", given, got)
		}
		if want := "ws://" + d.URL.Host + "/ws answered"; !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "%") {
			t.Errorf("%s: %v; want %s", given, err, want)
		}
	}
	if _, err := transport.ParseURL("ws://אa.example"); err == nil {
		t.Error("a name that mixes directions is taken")
	}
}

// TestOldNameServers has name servers with which getaddrinfo(3) resolves: they know no EDNS(0), or
// answer after one of its time-outs, which is 5 s.
func TestOldNameServers(t *testing.T) {
	port := webSockets(t, "127.0.0.1", "0")
	hosts := map[string][]string{name: {"127.0.0.1"}}
	for title, z := range map[string]*zone{
		"queries with EDNS(0) are dropped":  {hosts: hosts, drops: true},
		"queries with EDNS(0) are an error": {hosts: hosts, old: true},
		"answers take 6 s":                  {hosts: hosts, delay: 6 * time.Second},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if got, _ := dials(t, z.to(t, "server.example", port)); got != netip.MustParseAddr(
				"127.0.0.1") {
				t.Errorf("reached %s", got)
			}
		})
	}
}
