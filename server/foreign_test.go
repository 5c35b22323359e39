package server_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"tunnel/server"
)

// A proxy in front that speaks HTTP/2 or TLS to a server that does not is named in the log, now and
// then if it tries often.
func TestForeignProtocol(t *testing.T) {
	const plainly = " to this port: if it is a proxy in front, set it to HTTP/1.1 without TLS"
	const overTLS = " to this port: if it is a proxy in front, set it to HTTP/1.1 over TLS"
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	pair := httptest.NewTLSServer(nil)
	defer pair.Close()
	certificates := pair.TLS.Certificates
	over := func(offers ...string) func(net.Conn) {
		return func(c net.Conn) {
			//nolint:gosec // what is said is not believed
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: offers})
			_, _ = io.WriteString(secure, preface) // makes the handshake
			_, _ = io.ReadAll(secure)
		}
	}
	clear := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.ReadAll(c)
		}
	}
	for name, test := range map[string]struct {
		secure bool
		speak  func(net.Conn)
		says   string // "" logs nothing
	}{
		"TLS to a plain port":         {false, over(), "speaks TLS" + plainly},
		"HTTP/2 to a plain port":      {false, clear(preface), "speaks HTTP/2" + plainly},
		"HTTP/2 to a TLS port":        {true, clear(preface), "speaks HTTP/2" + overTLS},
		"HTTP/2 inside TLS":           {true, over(), "speaks HTTP/2" + overTLS},
		"HTTP/2 only, it offers":      {true, over("h2"), "speaks HTTP/2 only" + overTLS},
		"HTTP/1.1 to a plain port":    {false, clear("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), ""},
		"something else to that port": {false, clear("SSH-2.0-OpenSSH_9.2\r\n\r\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "10.1.1.0/24", func(c *server.Config) {
				if test.secure {
					c.TLS = &tls.Config{
						Certificates: certificates, MinVersion: tls.VersionTLS12,
						NextProtos: []string{"http/1.1"},
					}
				}
			})
			for range 20 {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Address)
				if err != nil {
					t.Fatal(err)
				}
				test.speak(conn)
				_ = conn.Close()
			}
			h.drops() // stops it
			log := string(h.Log.Text())
			n := strings.Count(log, "to this port")
			if n > 10 || (n > 0) != (test.says != "") || !strings.Contains(log, test.says) {
				t.Errorf("%d lines; want %q in\n%s", n, test.says, log)
			}
		})
	}
}
