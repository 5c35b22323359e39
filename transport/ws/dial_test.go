package ws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
)

// A dialFailure is a server that is none, or none of ours, and what a person is told about it.
type dialFailure struct {
	serve  func(*testing.T) string // starts it and returns the URL to dial
	step   transport.Step
	says   string // part of what failed
	advice string // part of what to do
}

// check dials and compares.
func (f dialFailure) check(t *testing.T, d *ws.Dialer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.Dial(ctx)
	if err == nil {
		conn.Close(transport.CodeNormal, "")
		t.Fatal("connected")
	}
	f.compare(t, err)
}

func (f dialFailure) compare(t *testing.T, err error) {
	t.Helper()
	var step *transport.StepError
	if !errors.As(err, &step) {
		t.Fatalf("%v is no StepError", err)
	}
	text, advice := step.Err.Error(), string(step.Reason)+" "+step.Subject+step.Advice
	if err.Error() != string(step.Step)+": "+text || !errors.Is(err, step.Err) {
		t.Errorf("the error is %v", err)
	}
	if step.Step != f.step || !strings.Contains(text, f.says) ||
		!strings.Contains(advice, f.advice) {
		t.Errorf("got  %s: %s: %s\nwant %s: …%s…: …%s…", step.Step, text, advice, f.step, f.says,
			f.advice)
	}
	for _, bad := range []string{"\n", "secret-token", "pa55w0rd", "failed to WebSocket dial",
		"%!"} {
		if strings.Contains(text+advice, bad) {
			t.Errorf("%q is in the text: %s: %s", bad, text, advice)
		}
	}
	if advice == " " || len(text+advice) > 300 {
		t.Errorf("no advice, or more than a line: %s: %s", text, advice)
	}
}

// refusing returns the address of a port that is taken and refuses connections.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port) // it is one
}

// answering is a server that answers the first request with these bytes and hangs up.
func answering(answer string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return "ws://" + serveTCP(t, func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			_, _ = conn.Write([]byte(answer))
		})
	}
}

// status is a server that answers every request with a status.
func status(code int) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return "ws://" + serveHTTP(t, nil,
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
}

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

func TestDialFails(t *testing.T) {
	tcp := func(address string) func(*testing.T) string {
		return func(
			*testing.T) string {
			return address
		}
	}
	ours := func(t *testing.T) string {
		t.Helper()
		return "ws://" + accepting(t, newAuthority(t).server(t, "127.0.0.1"),
			func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	}
	page := func(t *testing.T) string {
		t.Helper()
		return "ws://" + serveHTTP(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintln(w, strings.Repeat("<h1>a page</h1>\n", 1000))
		})
	}
	move := func(t *testing.T) string {
		t.Helper()
		return "ws://" + serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/ws", http.StatusMovedPermanently)
		})
	}
	mute := func(t *testing.T) string {
		t.Helper()
		return "ws://" + serveTCP(t,
			func(conn net.Conn) { _, _ = bufio.NewReader(conn).ReadBytes(0) })
	}
	for name, f := range map[string]dialFailure{
		"name, no name of DNS": {tcp("ws://" + strings.Repeat("x", 64) + ".example"),
			transport.StepName, "resolve xxx", "DNS"},
		"tcp, refused": {func(t *testing.T) string {
			t.Helper()
			return "ws://" +
				refusing(t)
		}, transport.StepTCP, "connection refused", "firewalls"},
		"tcp, wss": {func(t *testing.T) string {
			t.Helper()
			return "wss://" +
				refusing(t)
		}, transport.StepTCP, "connect to 127.0.0.1:", "port"},
		"http, a page": {page, transport.StepHTTP, "answered 200 OK: not a tunnel server",
			"url "},
		"http, not found": {status(404), transport.StepHTTP, "answered 404 Not Found",
			"url "},
		"http, forbidden": {status(403), transport.StepHTTP, "answered 403 Forbidden",
			"url "},
		"http, bad gateway": {status(502), transport.StepHTTP, "answered 502 Bad Gateway",
			"tunnel serve"},
		"http, too many": {status(429), transport.StepHTTP, "answered 429 Too Many Requests",
			"try again later"},
		"http, unavailable":     {status(503), transport.StepHTTP, "answered 503", "tunnel serve"},
		"http, gateway timeout": {status(504), transport.StepHTTP, "answered 504", "tunnel serve"},
		"http, teapot":          {status(418), transport.StepHTTP, "answered 418", "url "},
		"http, redirection": {move, transport.StepHTTP,
			"sends us to https://elsewhere.example/ws", "give that URL"},
		"http, 101 of another subprotocol": {
			answering(upgraded + "Sec-WebSocket-Protocol: chat\r\n\r\n"), transport.StepHTTP,
			"not with a WebSocket of ours", "url ",
		},
		"http, 101 of nothing": {answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
			transport.StepHTTP, "not with a WebSocket of ours", "url "},
		"http, hung up": {answering(""), transport.StepHTTP, "hung up", "wss://"},
		"http, half an answer": {answering("HTTP/1.1 200 O"), transport.StepHTTP, "unexpected EOF",
			"url "},
		"http, no HTTP": {answering("SSH-2.0-OpenSSH_9.2p1\r\n"), transport.StepHTTP,
			`speaks SSH, not HTTP: "SSH-2.0-OpenSSH_9.2p1"`, "port"},
		"http, TLS alert": {answering("\x15\x03\x01\x00\x02\x02\x16"), transport.StepHTTP, "",
			"wss://"},
		"http, TLS of ours":    {ours, transport.StepHTTP, "hung up", "wss://"},
		"http, TLS of another": {status(400), transport.StepHTTP, "answered 400", "wss://"},
		"http, endless header": {answering("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<20)),
			transport.StepHTTP, "", "url "},
		"auth": {status(401), transport.StepAuth, "answered 401 Unauthorized",
			"doubtful "},
		"proxy, transparent": {status(407), transport.StepProxy, "answered 407", "proxy-front "},
		"http, no answer":    {mute, transport.StepHTTP, "no answer", "url "},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, f.serve(t))
			d.Token = "secret-token-0123456789"
			if name == "http, no answer" { // a caller's deadline, not to wait for ours
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				_, err := d.Dial(ctx)
				f.compare(t, err)
				return
			}
			f.check(t, d)
		})
	}
}

// A WebSocket server that speaks no subprotocol at all.
func TestDialOtherWebSocket(t *testing.T) {
	address := serveTCP(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		request, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(conn, upgraded+"Sec-WebSocket-Accept: %s\r\n\r\n", acceptKey(request))
		_, _ = in.ReadByte()
	})
	dialFailure{nil, transport.StepHTTP, "does not speak tunnel.v1", "url "}.check(t,
		dialer(t, "ws://"+address))
}

// A client that does not ask for our subprotocol is told, and nothing else happens.
func TestAcceptOtherSubprotocol(t *testing.T) {
	failed := make(chan error, 1)
	address := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		_, err := ws.Accept(w, r, tcp.CongestionAuto)
		failed <- err
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := upgradeAs(t, conn, address, "chat")
	if code, reason := r.closed(); code != transport.CodeProtocol ||
		reason != "subprotocol tunnel.v1 is spoken here" {
		t.Errorf("told %d, %q", code, reason)
	}
	closedWith(t, <-failed, transport.CodeProtocol, "subprotocol", false)
}

// Who asks for no WebSocket gets an answer in HTTP.
func TestAcceptNoUpgrade(t *testing.T) {
	failed := make(chan error, 1)
	address := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		_, err := ws.Accept(w, r, tcp.CongestionAuto)
		failed <- err
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/ws",
		nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := new(http.Transport).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if err := <-failed; err == nil || response.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("answered %s, %v", response.Status, err)
	}
}

// Dial sends the token, further headers, another Host.
func TestDialRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	address := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusNotFound)
	})
	d := dialer(t, "ws://"+address+"/way?key=1")
	d.Token = "0123456789abcdef"
	d.Header = http.Header{"Host": {"front.example"}, "X-Way": {"one", "two"}}
	if _, err := d.Dial(t.Context()); err == nil {
		t.Fatal("connected")
	}
	r := <-requests
	if r.Header.Get("Authorization") != "Bearer 0123456789abcdef" || r.Host != "front.example" ||
		strings.Join(r.Header.Values("X-Way"), ",") != "one,two" || r.RequestURI != "/way?key=1" ||
		r.Header.Get("Sec-Websocket-Protocol") != transport.Subprotocol ||
		r.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Errorf("%s %s %+v", r.Host, r.RequestURI, r.Header)
	}
	if d.Header.Get("Authorization") != "" || len(d.Header) != 2 {
		t.Errorf("the caller's header became %v", d.Header)
	}
}

// A name is tried at all of its addresses: localhost may be ::1 first, where no server listens.
func TestDialName(t *testing.T) {
	address := accepting(t, nil, func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	_, port, _ := net.SplitHostPort(address)
	d := dialer(t, "ws://localhost:"+port)
	hops, err := d.Hops(t.Context())
	if err != nil || len(hops) == 0 || !hops[0].Addr().IsLoopback() {
		t.Errorf("hops %v, %v", hops, err)
	}
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "")
}

// With a hop the name is not resolved.
func TestDialHop(t *testing.T) {
	address := accepting(t, nil, func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	_, port, _ := net.SplitHostPort(address)
	d := dialer(t, "ws://server.invalid:"+port)
	d.Hop = netip.MustParseAddr("127.0.0.1")
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "")
	if hops, err := d.Hops(t.Context()); err != nil || len(hops) != 1 || hops[0].Addr() != d.Hop {
		t.Errorf("hops %v, %v", hops, err)
	}
}

// Before gets every address that is tried; its error is the dial's.
func TestDialBefore(t *testing.T) {
	address := accepting(t, nil, func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	d := dialer(t, "ws://"+address)
	var hops []netip.AddrPort
	d.Before = func(_ context.Context, hop netip.AddrPort) error {
		hops = append(hops, hop)
		return nil
	}
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "")
	want, err := d.Hops(t.Context())
	if err != nil || len(hops) != 1 || len(want) != 1 || hops[0] != want[0] ||
		hops[0] != netip.MustParseAddrPort(address) {
		t.Errorf("before %v; hops %v, %v", hops, want, err)
	}
	d.Before = func(context.Context, netip.AddrPort) error { return errDevice }
	if _, err := d.Dial(t.Context()); !errors.Is(err, errDevice) {
		t.Errorf("got %v", err)
	}
}

// When the caller's context ends, Dial does.
func TestDialCancelled(t *testing.T) {
	stuck := make(chan struct{})
	address := serveTCP(t, func(conn net.Conn) {
		close(stuck)
		_, _ = bufio.NewReader(conn).ReadBytes(0)
	})
	for _, scheme := range []string{"ws", "wss"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if scheme == "wss" {
			cancel(errDevice)
		} else {
			go func() {
				<-stuck
				cancel(errDevice)
			}()
		}
		if _, err := dialer(t, scheme+"://"+address).Dial(ctx); err == nil {
			t.Errorf("%s: connected", scheme)
		}
		cancel(nil)
	}
}
