package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tunnel/auth"
)

// memory is a listener in memory, whose connections come from where they say.
type memory struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newMemory() *memory {
	return &memory{conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.ended:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.ended) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	address netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.address) }

// dial connects from an address, 192.0.2.1 for instance.
func (m *memory) dial(address string) net.Conn {
	ours, theirs := net.Pipe()
	m.conns <- from{theirs, netip.AddrPortFrom(netip.MustParseAddr(address), 1)}
	return ours
}

// inMemory serves a page in a bubble whose clock jumps, while f runs.
func inMemory(t *testing.T, p func() *Page, f func(*testing.T, *Page, *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		page, m := p(), newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() { page.Serve(ctx, m); close(served) }()
		f(t, page, m)
		cancel()
		<-served
	})
}

// answerTo returns the first line of the answer to a request, or why there is none.
func answerTo(c net.Conn, request string) string {
	go func() { _, _ = io.WriteString(c, request) }() // the page may answer before it has read all
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer)
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(buffer[:n]), "\r\n")
	return first
}

const (
	wellFormed = "GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	answered   = "HTTP/1.1 200 OK"
)

// Requests are bounded in size, and end in time.
func TestBounds(t *testing.T) {
	const post = "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	inMemory(t, func() *Page { return newPage(newHub(1)) }, func(t *testing.T, p *Page, m *memory) {
		// The code is a right one, behind more than is read.
		large := "x=" + strings.Repeat("x", maxForm) + "&code=" + p.Code()
		for want, request := range map[string]string{
			"HTTP/1.1 431 Request Header Fields Too Large": "GET / HTTP/1.1\r\nX: " +
				strings.Repeat("x", 2*maxHeader) + "\r\n\r\n",
			"HTTP/1.1 413 Request Entity Too Large": post +
				fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(large), large),
			"HTTP/1.1 400 Bad Request: missing required Host header": "GET / HTTP/1.1\r\n\r\n",
			answered: wellFormed,
		} {
			c := m.dial("192.0.2.1")
			if got := answerTo(c, request); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			_ = c.Close()
		}
		for _, begins := range []string{"", "GET / HTTP/1.1\r\nHost: l",
			post + "Content-Length: 9\r\n\r\nco"} {
			begin := time.Now()
			c := m.dial("192.0.2.1")
			go func() { _, _ = io.WriteString(c, begins) }()
			_, _ = io.Copy(io.Discard, c)
			if took := time.Since(begin); took < requestTimeout || took > requestTimeout+time.Second {
				t.Errorf("%q ended after %v", begins, took)
			}
			_ = c.Close()
		}
	})
}

// However many silent connections there are from elsewhere, or from this machine, a newcomer is
// answered, a session goes on, and no more are open than may be.
func TestCrowd(t *testing.T) {
	for _, crowd := range []string{"192.0.2.9", "127.0.0.1"} {
		inMemory(t, func() *Page { return newPage(newHub(1)) }, func(t *testing.T, p *Page, m *memory) {
			in := loggedIn(t, p)
			request := fmt.Sprintf("GET /s/%s/live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s=%s\r\n\r\n",
				in.place, in.cookie.Name, in.cookie.Value)
			admin := m.dial(crowd)
			if got := answerTo(admin, request); got != answered {
				t.Fatalf("the session: %s", got)
			}
			drain(admin)
			var open sync.Map
			for range 600 {
				c := m.dial(crowd)
				open.Store(c, true)
				go func() {
					_, _ = io.Copy(io.Discard, c)
					open.Delete(c)
				}()
			}
			synctest.Wait()
			count := 0
			open.Range(func(any, any) bool { count++; return true })
			if count > maxUnknown || count < maxPerSource-1 {
				t.Errorf("%s has %d connections", crowd, count)
			}
			for _, address := range []string{"192.0.2.1", "127.0.0.1"} {
				c := m.dial(address)
				if got := answerTo(c, wellFormed); got != answered {
					t.Errorf("with many from %s, %s is told %q", crowd, address, got)
				}
				_ = c.Close()
			}
			if got := answerTo(admin, request); got != answered {
				t.Errorf("the session, with many from %s: %q", crowd, got)
			}
			_ = admin.Close()
			open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		})
	}
}

// drain reads what has come on c.
func drain(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, _ = io.Copy(io.Discard, c)
	_ = c.SetReadDeadline(time.Time{})
}

// slow is a hub whose RevokeToken takes its time.
type slow struct {
	*hub
	begun, goOn chan struct{}
	done        bool
}

func (s *slow) RevokeToken(string) (auth.Token, error) {
	close(s.begun)
	<-s.goOn
	s.done = true
	return auth.Token{}, nil
}

// When the page has ended no request is being answered any more: what it changes is closed next.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{hub: newHub(1), begun: make(chan struct{}), goOn: make(chan struct{})}
		p := newPage(s.hub)
		p.Hub = s
		in := loggedIn(t, p)
		form := url.Values{"csrf": {p.logins.sessions[0].csrf}}.Encode()
		m := newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() { p.Serve(ctx, m); close(served) }()
		c := m.dial("127.0.0.1")
		go func() {
			_, _ = fmt.Fprintf(c, "POST /s/%s/tokens/laptop/revoke HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
				"Origin: http://127.0.0.1\r\nCookie: %s=%s\r\nContent-Length: %d\r\n"+
				"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s", in.place, in.cookie.Name,
				in.cookie.Value, len(form), form)
			_, _ = io.Copy(io.Discard, c)
		}()
		<-s.begun
		cancel()
		time.Sleep(stopTimeout + stopTimeout/2) // the connection is closed, its handler goes on
		select {
		case <-served:
			t.Error("the page has ended in the middle of a request")
		default:
		}
		close(s.goOn)
		if <-served; !s.done {
			t.Error("the page has ended before the request")
		}
	})
}

// A failure of the hub is no fault of the form: it is logged, and shown without its text.
func TestHubFails(t *testing.T) {
	h := newHub(1)
	p := newPage(h)
	p.Hub = full{h}
	b := loggedIn(t, p)
	token := csrf(t, b.see("/tokens"))
	for _, path := range []string{"/tokens", "/tokens/laptop/revoke"} {
		r := b.send(http.MethodPost, path, url.Values{"csrf": {token}, "name": {"phone"}})
		text := body(t, r)
		if r.StatusCode != http.StatusInternalServerError || strings.Contains(text, "/var/lib") ||
			!strings.Contains(text, "see its log") {
			t.Errorf("POST %s: %d\n%s", path, r.StatusCode, text)
		}
	}
	for _, err := range []error{errors.New(""), errors.New("ärger")} {
		if got := sentence(err); got != "It failed." && got != "Ärger." {
			t.Errorf("%q is %q", err, got)
		}
	}
}

// full is a hub whose disk is full.
type full struct{ *hub }

var errFull = errors.New("write /var/lib/tunnel/tunnel.db: no space left on device")

func (full) RevokeToken(string) (auth.Token, error) { return auth.Token{}, errFull }

func (full) CreateToken(auth.Spec) (auth.Token, string, error) {
	return auth.Token{}, "", errFull
}
