package ws_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// An answer without an end, of a proxy or a server, ends the attempt with an error of one line, and
// is not kept in memory.
func TestEndlessAnswer(t *testing.T) {
	// bytes that the other side may get rid of: what kernels keep in their buffers, and more
	const most = 64 << 20
	for name, begin := range map[string]string{
		"status line": "HTTP/1.1 200 ",
		"header":      "HTTP/1.1 200 OK\r\nX: ",
		"headers":     "HTTP/1.1 200 OK\r\n",
	} {
		for _, who := range []string{"proxy", "server"} {
			t.Run(who+", "+name, func(t *testing.T) {
				var sent atomic.Int64
				address := serveTCP(t, func(conn net.Conn) {
					go func() { _, _ = io.Copy(io.Discard, conn) }()
					_, _ = io.WriteString(conn, begin)
					more := []byte(strings.Repeat("a", 4096))
					if name == "headers" {
						more = []byte(strings.Repeat("A: b\r\n", 700))
					}
					for err := error(nil); err == nil && sent.Load() < 2*most; {
						_, err = conn.Write(more)
						sent.Add(int64(len(more)))
					}
				})
				d := dialer(t, "ws://"+address)
				if who == "proxy" {
					d.Proxy = func(*url.URL) (*url.URL,
						error) {
						return url.Parse("http://" + address)
					}
				}
				_, err := d.Dial(t.Context())
				if err == nil ||
					!strings.Contains(err.Error(), "its answer has headers of more than 32 KiB") ||
					strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v", err)
				}
				if got := sent.Load(); got > most {
					t.Errorf("read %d MiB of it", got>>20)
				}
			})
		}
	}
}
