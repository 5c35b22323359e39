package ws_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tunnel/transport"
)

// saying is a server that speaks first, and then reads until the client has gone.
func saying(scheme, words string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return scheme + "://" + serveTCP(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, words)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
}

// The first bytes of an HTTP/2 connection from the server's side: SETTINGS, and GOAWAY with
// PROTOCOL_ERROR.
const (
	settings = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"
	goAway   = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
)

// The error names the kind of server that answers in front of, or in place of, a tunnel server.
func TestFronts(t *testing.T) {
	tlsOnly := func(protocols ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			config := newAuthority(t).server(t, "127.0.0.1")
			config.NextProtos = protocols
			return "wss://" + serveTCP(t,
				func(conn net.Conn) { _ = tls.Server(conn, config).HandshakeContext(t.Context()) })
		}
	}
	page := func(code int, header string) func(*testing.T) string {
		return answering(fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/html; "+
			"charset=utf-8\r\n%sContent-Length: 2\r\n\r\nhi", code, http.StatusText(code), header))
	}
	for name, f := range map[string]dialFailure{
		"HTTP/2 by ALPN alone": {tlsOnly("h3"), transport.StepTLS, "no application protocol",
			"speaks HTTP/2 only"},
		"HTTP/2, SETTINGS": {answering(settings), transport.StepHTTP,
			"speaks HTTP/2 only", "HTTP/1.1"},
		"HTTP/2, SETTINGS and GOAWAY": {answering(settings + goAway), transport.StepHTTP,
			"speaks HTTP/2 only", "HTTP/1.1"},
		"HTTP/2, GOAWAY": {answering(goAway), transport.StepHTTP, "speaks HTTP/2 only",
			"HTTP/1.1"},
		"HTTP/2, speaks first": {saying("ws", settings), transport.StepHTTP,
			"speaks HTTP/2 only", "HTTP/1.1"},
		"HTTP/2, wss": {saying("wss", settings), transport.StepTLS, "first record",
			"HTTP/2 only"},
		"SSH": {saying("ws", "SSH-2.0-OpenSSH_9.2p1\r\n"),
			transport.StepHTTP, `speaks SSH, not HTTP: "SSH-2.0-OpenSSH_9.2p1"`, "check the port"},
		"SSH, wss": {saying("wss", "SSH-2.0-OpenSSH_9.2p1\r\n"),
			transport.StepTLS, "first record", "speaks SSH on this port"},
		"SMTP": {saying("ws", "220 mail.example ESMTP Postfix\r\n"),
			transport.StepHTTP, "speaks SMTP or FTP, not HTTP", "check the port"},
		"SMTP, wss": {saying("wss", "220 mail.example ESMTP Postfix\r\n"),
			transport.StepTLS, "", "speaks SMTP or FTP on this port"},
		"IMAP": {saying("ws", "* OK IMAP4rev1\r\n"), transport.StepHTTP,
			"speaks IMAP, not HTTP", "check the port"},
		"POP3": {saying("ws", "+OK ready\r\n"), transport.StepHTTP,
			"speaks POP3, not HTTP", "check the port"},
		"VNC": {saying("ws", "RFB 003.008\n"), transport.StepHTTP,
			"speaks VNC, not HTTP", "check the port"},
		"a banner with an escape": {saying("ws", "SSH-\x1b[2J\r\n"), transport.StepHTTP,
			`"SSH-\x1b[2J"`, "check the port"},
		"TLS on the port of ws": {answering("\x15\x03\x03\x00\x02\x02\x46"),
			transport.StepHTTP, "TLS alert", "wss://"},
		"plain HTTP on the port of wss": {func(t *testing.T) string {
			t.Helper()
			return strings.Replace(status(404)(t), "ws://", "wss://", 1)
		}, transport.StepTLS, "first record", "speaks plain HTTP on this port"},

		"no Upgrade reaches the server": {status(404), transport.StepHTTP, "answered 404",
			"pass the Upgrade header on"},
		"400 of a front": {page(400, ""), transport.StepHTTP, "answered 400",
			"wss://"},
		"403 of a front": {page(403, ""), transport.StepHTTP, "answered 403",
			"may forbid WebSockets"},
		"426 of a front": {page(426, "Upgrade: h2c\r\n"), transport.StepHTTP,
			"answered 426", "removes the Upgrade header"},
		"502 of a front": {page(502, ""), transport.StepHTTP, "answered 502",
			"behind it"},
		"503 of a front": {page(503, ""), transport.StepHTTP, "answered 503",
			"behind it"},
		"504 of a front": {page(504, ""), transport.StepHTTP, "answered 504",
			"behind it"},
		"Sec-WebSocket-Protocol is removed from the " +
			"answer": {answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " +
			"websocket\r\n\r\n"), transport.StepHTTP, "not with a WebSocket of ours",
			"changes the headers"},

		"a login page": {page(200, ""), transport.StepHTTP,
			"answered 200 OK: not a tunnel server", "login page"},
		"a login page by 302": {page(302, "Location: http://login.example/?for=me\r\n"),
			transport.StepHTTP, "sends us to http://login.example/?for=me", "login page"},
		"a long Location": {page(302,
			"Location: http://login.example/"+strings.Repeat("x", 500)+"\r\n"), transport.StepHTTP,
			"sends us to http://login.example/xxx", "login page"},
		"a login page by 511": {page(511, ""), transport.StepHTTP, "answered 511",
			"wants a login"},
		"a login page's own certificate": {tlsOnly(), transport.StepTLS, "unknown authority",
			"authority "},

		"401 of the server": {page(401,
			`WWW-Authenticate: Bearer realm="tnl", error="invalid_token"`+"\r\n"),
			transport.StepAuth, "the server does not accept this token", "token "},
		"401 with a reason": {page(401,
			`WWW-Authenticate: Bearer realm="tnl", error="invalid_token"`+
				`, error_description="the token was revoked"`+"\r\n"),
			transport.StepAuth, "401 Unauthorized: the token was revoked", "token-over "},
		"401 with a long reason": {page(401,
			`WWW-Authenticate: Bearer realm="tnl", error_description="`+strings.Repeat("x",
				500)+"\r\n"), transport.StepAuth, strings.Repeat("x", 80) + "…", "token-over "},
		"a reason of a gateway": {page(401,
			`WWW-Authenticate: Bearer realm="api"`+
				`, error_description="the token was revoked"`+"\r\n"),
			transport.StepAuth, "answered 401", "asks for Bearer)"},
		"401 of nginx": {page(401, `WWW-Authenticate: Basic realm="closed, area"`+"\r\n"),
			transport.StepAuth, "answered 401", "asks for Basic)"},
		"401 of a gateway": {page(401,
			`WWW-Authenticate: Bearer realm="api", error="invalid_token"`+"\r\n"),
			transport.StepAuth, "answered 401", "asks for Bearer)"},
		"401 of an older server": {page(401, "WWW-Authenticate: Bearer\r\n"), transport.StepAuth,
			"answered 401", "doubtful "},
		"401 of a login page": {page(401, ""), transport.StepAuth, "answered 401", "doubtful "},
		"401 of IIS": {page(401,
			"WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n"), transport.StepAuth,
			"answered 401", "asks for Negotiate, NTLM)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := dialer(t, f.serve(t))
			d.Token = "secret-token-0123456789"
			f.check(t, d)
		})
	}
}

// A 401 is doubtful unless it bears the server's mark.
func TestDoubtful(t *testing.T) {
	for challenge, doubtful := range map[string]bool{
		`Bearer realm="tnl"`: false, `bearer realm="tnl", error="invalid_token"`: false,
		`Bearer error="invalid_token", realm="tnl"`: false,
		"": true, "Bearer": true, `Basic realm="tnl"`: true, `Bearer realm="other"`: true,
		"tnl": true,
	} {
		_, err := dialer(t,
			answering("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: "+
				""+challenge+"\r\nContent-Length: 0\r\n\r\n")(t)).Dial(t.Context())
		var step *transport.StepError
		if !errors.As(err, &step) || step.Step != transport.StepAuth || step.Doubtful != doubtful {
			t.Errorf("%q: %+v; want doubtful %v", challenge, step, doubtful)
		}
		const none = "this client gave no token"
		if step != nil && strings.Contains(step.Err.Error(), none) == doubtful {
			t.Errorf("%q: %v; only the server's own says %q", challenge, step.Err, none)
		}
	}
}

// For a proxy that does not pass on the 101, the error reports no answer, with advice.
func TestFrontHoldsAnswer(t *testing.T) {
	d := dialer(t, saying("ws", "")(t))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // not to wait for ours
	defer cancel()
	_, err := d.Dial(ctx)
	dialFailure{nil, transport.StepHTTP, "no answer to the request",
		"a proxy in front passes WebSockets on at once"}.compare(t, err)
}

// Some fronts add a chunked body to 101. The WebSocket behind it works.
func TestFrontChunks101(t *testing.T) {
	address := serveTCP(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		request, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(conn, upgraded+"Transfer-Encoding: chunked\r\nSec-WebSocket-Protocol: "+
			"tunnel.v1\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(request))
		_, _ = in.ReadByte()
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "")
}

// The error explains the answer of a proxy to CONNECT.
func TestProxyAnswers(t *testing.T) {
	http1 := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return strings.Replace(answering("HTTP/1.1 "+answer+"\r\n\r\n")(t), "ws://", "http://",
				1)
		}
	}
	raw := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return strings.Replace(answering(answer)(t), "ws://", "http://", 1)
		}
	}
	const required = "407 Proxy Authentication Required"
	for name, test := range map[string]struct {
		dialFailure

		anonymous bool
	}{
		"NTLM only": {dialFailure{http1(required + "\r\nProxy-Authenticate: NTLM"),
			transport.StepProxy, required, "it takes NTLM only, and this program speaks Basic"},
			false},
		"NTLM and " +
			"Negotiate": {
			dialFailure{http1(required + "\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: " +
				"NTLM"), transport.StepProxy, required, "it takes Negotiate, NTLM only"}, false},
		"Negotiate, NTLM in " +
			"one": {dialFailure{http1(required + "\r\nProxy-Authenticate: Negotiate, NTLM"),
			transport.StepProxy, required, "it takes Negotiate, NTLM only"}, true},
		"Digest": {
			dialFailure{http1(required + "\r\nProxy-Authenticate: Digest realm=\"a, b\", " +
				"qop=\"auth,auth-int\", nonce=\"Basic\""), transport.StepProxy, required,
				"it takes Digest only"}, false},
		"Digest or " +
			"Basic": {
			dialFailure{http1(required + "\r\nProxy-Authenticate: Digest realm=\"a\", nonce=\"b\", " +
				"Basic realm=\"a\""), transport.StepProxy, required, "proxy-refuses "}, false},
		"Basic, a wrong " +
			"password": {dialFailure{http1(required + "\r\nProxy-Authenticate: basic realm=\"a\""),
			transport.StepProxy, required, "proxy-refuses "}, false},
		"Basic, no " +
			"password": {dialFailure{http1(required + "\r\nProxy-Authenticate: Basic realm=\"a\""),
			transport.StepProxy, required, "proxy-login "}, true},
		"no name of a " +
			"scheme": {dialFailure{http1(required + "\r\nProxy-Authenticate: b@d, <x> 1, =2"),
			transport.StepProxy, required, "proxy-login "}, true},
		"403": {dialFailure{http1("403 Forbidden"), transport.StepProxy,
			"CONNECT server.invalid:443: 403 Forbidden", "allow CONNECT"}, true},
		"502": {dialFailure{http1("502 Bad Gateway"), transport.StepProxy,
			"502 Bad Gateway", "cannot reach the server"}, true},
		"503": {dialFailure{http1("503 Service Unavailable"),
			transport.StepProxy, "503", "cannot reach the server"}, true},
		"504": {dialFailure{http1("504 Gateway Timeout"), transport.StepProxy,
			"504", "cannot reach the server"}, true},
		"405 of a web server": {dialFailure{http1("405 Method Not Allowed"),
			transport.StepProxy, "405", "a web server rather than a proxy"}, true},
		"200, and hangs up": {dialFailure{http1("200 OK"), transport.StepProxy,
			"granted the connection to the server, and hung up", "the proxy can reach it"}, true},
		"200, and a banner": {dialFailure{http1("200 OK\r\n\r\nSSH-2.0-OpenSSH_9.2p1"),
			transport.StepProxy, `the server speaks SSH: "SSH-2.0-OpenSSH_9.2p1"`, ""}, true},
		"hangs up": {dialFailure{raw(""), transport.StepProxy,
			"it hung up on CONNECT server.invalid:443", "allow CONNECT"}, true},
		"a SOCKS proxy": {dialFailure{raw("\x05\xff"), transport.StepProxy,
			"in SOCKS5, not in HTTP", "socks5://"}, true},
		"a proxy that wants TLS": {dialFailure{raw("\x15\x03\x01\x00\x02\x02\x16"),
			transport.StepProxy, "in TLS, not in HTTP", "https://"}, true},
		"SSH": {dialFailure{raw("SSH-2.0-OpenSSH_9.2p1\r\n"),
			transport.StepProxy, "in SSH, not in HTTP", "port"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, url := range []string{"wss://server.invalid", "ws://server.invalid:443"} {
				d := dialer(t, url)
				proxy := test.serve(t)
				if !test.anonymous {
					proxy = strings.Replace(proxy, "://", "://user:pa55w0rd@", 1)
				}
				d.Proxy = through(proxy)
				test.check(t, d)
			}
		})
	}
}

// The token gives way to what the user has in Authorization for a proxy in front.
func TestAuthorizationIsTaken(t *testing.T) {
	requests := make(chan *http.Request, 1)
	address := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusNotFound)
	})
	d := dialer(t, "ws://"+address)
	d.Token, d.Header = "0123456789abcdef", http.Header{"Authorization": {"Basic dXNlcjpwYXNz"}}
	if _, err := d.Dial(t.Context()); err == nil {
		t.Fatal("connected")
	}
	r := <-requests
	if r.Header.Get("Authorization") != "Basic dXNlcjpwYXNz" ||
		r.Header.Get("Tunnel-Authorization") != "Bearer 0123456789abcdef" {
		t.Errorf("sent %v", r.Header)
	}
}
