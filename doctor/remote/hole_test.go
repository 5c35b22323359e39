package remote

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
)

// An upgrade that got no answer is blamed on the size of packets only if smaller ones get an answer
// and those of the usual size do not, also where both pass the TLS handshake.
func TestFindHole(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		most int // the largest segment that gets an answer
		hole bool
	}{"hung": {0, false}, "of the moment": {1 << 20, false}, "hole": {1240, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &path{Server: Server{Dialer: serverOf(t, func(r *http.Request) {
				if segment(r) > test.most {
					<-r.Context().Done()
				}
			})}}
			found := p.findHole(t.Context(), checkUpgrade, "no answer")
			if found != test.hole || found != (len(p.found) == 1) {
				t.Errorf("%v: %+v", found, p.found)
			}
			if found && (p.found[0].Problem != doctor.MTUHole ||
				!strings.Contains(p.found[0].Saw, "at most 1280 bytes")) {
				t.Errorf("%+v", p.found[0])
			}
		})
	}
}

type connKey struct{}

// serverOf returns a dialer for a server with TLS that answers 404 when the handler returns.
func serverOf(t *testing.T, answer func(r *http.Request)) dial.Dialer {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(r)
		w.WriteHeader(http.StatusNotFound)
	}))
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	at, err := transport.ParseURL("wss" + strings.TrimPrefix(s.URL, "https"))
	if err != nil {
		t.Fatal(err)
	}
	return dial.Dialer{URL: at, TLS: &tls.Config{InsecureSkipVerify: true}}
}

// segment returns the size of the segments of a request's connection, in bytes.
func segment(r *http.Request) (size int) {
	secured, _ := r.Context().Value(connKey{}).(*tls.Conn)
	conn, _ := secured.NetConn().(*net.TCPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		size, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	})
	return size
}
