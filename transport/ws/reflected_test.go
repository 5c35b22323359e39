package ws_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

const (
	reflectedToken    = `SECRET<of>&"a token`
	reflectedHeader   = "SECRET-of-a-header"
	reflectedPassword = "SECRETpassword"
)

// forms returns what a peer can make of the secrets that it was sent, in one line.
func forms() string {
	login := "usr:" + reflectedPassword
	return strings.Join([]string{reflectedToken, reflectedHeader, login,
		base64.StdEncoding.EncodeToString([]byte(login)), url.QueryEscape(reflectedToken)}, " ")
}

// clean fails the test if an error or its advice has a secret, also where a log or JSON quotes it.
func clean(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("connected")
	}
	text := err.Error()
	var step *transport.StepError
	if errors.As(err, &step) {
		text += step.Advice + step.Subject
	}
	for _, bad := range []string{"SECRET", "U0VDUkVU", "VDUkVUcGFzc3dvcm", "dXNyOl"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s is in %s", bad, text)
		}
	}
}

// A server that sends back what it was sent, in every place that an error shows, shows no secret.
func TestReflected(t *testing.T) {
	all := forms()
	for name, answer := range map[string]string{
		"status":     "HTTP/1.1 403 " + all + "\r\nContent-Length: 0\r\n\r\n",
		"cut status": "HTTP/1.1 403 " + strings.Repeat("x", 70) + all + "\r\n\r\n",
		"location":   "HTTP/1.1 302 Found\r\nLocation: http://h/" + all + "\r\n\r\n",
		"cut": "HTTP/1.1 302 Found\r\nLocation: http://h/" + strings.Repeat("x", 60) + all +
			"\r\n\r\n",
		"description": "HTTP/1.1 401 no\r\nWWW-Authenticate: Bearer realm=\"tnl\", " +
			"error_description=\"" + all + "\"\r\n\r\n",
		"schemes":     "HTTP/1.1 401 no\r\nWWW-Authenticate: " + reflectedHeader + "\r\n\r\n",
		"no header":   "HTTP/1.1 200 OK\r\n" + all + "\r\n\r\n",
		"no status":   "HTTP/1.1 " + all + "\r\n\r\n",
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: " + all + "\r\n\r\n",
		"another":     "SSH-2.0-" + reflectedHeader + "\r\n",
		"another cut": "SSH-2.0-" + strings.Repeat("x", 46) + reflectedHeader + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, answering(answer)(t))
			d.Token, d.Header = reflectedToken, http.Header{"X-Key": {reflectedHeader}}
			// as if the server had been a proxy before
			d.Sent = d.Sent.AndLogin(url.UserPassword("usr", reflectedPassword))
			_, err := d.Dial(t.Context())
			clean(t, err)
		})
	}
}

// So does a proxy: in its status line, and where its answer is none.
func TestReflectedByProxy(t *testing.T) {
	for name, answer := range map[string]string{
		"status":    "HTTP/1.1 403 " + forms() + "\r\n\r\n",
		"no header": "HTTP/1.1 200 OK\r\n" + forms() + "\r\n\r\n",
		"no answer": "what " + forms() + "\r\n\r\n",
		"early":     "HTTP/1.1 200 OK\r\n\r\nSSH-" + reflectedPassword + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := serveTCP(t, func(conn net.Conn) {
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = conn.Write([]byte(answer))
			})
			d := dialer(t, "ws://192.0.2.1")
			d.Token, d.Header = reflectedToken, http.Header{"X-Key": {reflectedHeader}}
			d.Proxy = proxyOf("http://usr:" + reflectedPassword + "@" + address)
			_, err := d.Dial(t.Context())
			clean(t, err)
		})
	}
}

func proxyOf(address string) dial.ProxyFunc {
	return func(*url.URL) (*url.URL, error) { return url.Parse(address) }
}

// The reason of a close frame, and what is said about an answer that is not usable, have none
// either, nor the secret by which a session is resumed.
func TestReflectedReason(t *testing.T) {
	const session = "SECRETsession"
	for _, reason := range []string{reflectedToken, reflectedHeader, strconv.Quote(reflectedToken),
		session} {
		address := accepting(t, nil, func(conn *ws.Conn) {
			_, _ = conn.Requested(context.Background(), packet.Offload{})
			conn.Close(transport.CodeSessions, "told: "+reason)
		})
		d := dialer(t, "ws://"+address)
		d.Token, d.Header = reflectedToken, http.Header{"X-Key": {reflectedHeader}}
		conn, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Request(t.Context(), transport.Connect{Session: session}, packet.Offload{})
		clean(t, err)
		if !strings.Contains(err.Error(), "told: ") {
			t.Error(err)
		}
	}
}
