package ws_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// patience is how long a test waits for what is about to happen, on however busy a machine.
const patience = 20 * time.Second

// serveHTTP serves h on a port of its own as the program does, and returns HOST:PORT. All handlers
// are over when the test ends.
func serveHTTP(t *testing.T, config *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	var handlers sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handlers.Add(1)
			defer handlers.Done()
			h(w, r)
		}),
		ConnContext:       tcp.ConnContext,
		ReadHeaderTimeout: patience,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	handlers.Go(func() { _ = server.Serve(tcp.Listener(ln, config, nil)) })
	t.Cleanup(func() {
		_ = server.Close()
		handlers.Wait()
	})
	return address
}

// accepting serves WebSockets and hands each to handle, which ends it.
func accepting(t *testing.T, config *tls.Config, handle func(*ws.Conn)) string {
	t.Helper()
	return serveHTTP(t, config, func(w http.ResponseWriter, r *http.Request) {
		conn, err := ws.Accept(w, r, tcp.CongestionAuto)
		if err != nil {
			return
		}
		handle(conn)
	})
}

// dialer returns a Dialer for a URL.
func dialer(t *testing.T, address string) *ws.Dialer {
	t.Helper()
	u, err := transport.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	return &ws.Dialer{Dialer: dial.Dialer{URL: u}}
}

// pair returns both ends of a connection, in StateInit. They are closed when the test ends.
func pair(t *testing.T) (client, server *ws.Conn) {
	t.Helper()
	return pairOf(t, nil, func(address string) *ws.Dialer { return dialer(t, "ws://"+address) })
}

// pairOf is pair by TLS with that configuration of the server, nil for none.
func pairOf(t *testing.T, config *tls.Config, dial func(address string) *ws.Dialer) (client,
	server *ws.Conn) {
	t.Helper()
	accepted, ended := make(chan *ws.Conn, 1), make(chan struct{})
	address := accepting(t, config, func(c *ws.Conn) {
		accepted <- c
		<-ended
	})
	client, err := dial(address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() {
		closeBoth(client, server)
		close(ended)
	})
	return client, server
}

// closeBoth closes both ends at once, so that neither waits for the other.
func closeBoth(a, b *ws.Conn) {
	var group sync.WaitGroup
	group.Go(func() { a.Close(transport.CodeNormal, "the test is over") })
	group.Go(func() { b.Close(transport.CodeNormal, "the test is over") })
	group.Wait()
}

// granted is a Connected that a client can use.
func granted() transport.Connected {
	return transport.Connected{
		Address: "10.1.1.3", Peer: "10.1.1.4", Network: "10.1.1.0/24",
		MTU: 1400, Qlen: 100, Keepalive: 20, Session: "secret",
	}
}

// connected returns both ends of a connection, in StateConnected.
func connected(t *testing.T) (client, server *ws.Conn) {
	t.Helper()
	client, server = pair(t)
	agree(t, client, server)
	return client, server
}

// agree makes the state of both ends StateConnected.
func agree(t *testing.T, client, server *ws.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := server.Requested(t.Context(), packet.Offload{})
		done <- errors.Join(err,
			server.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, granted(),
				packet.Offload{}))
	}()
	_, err := client.Request(t.Context(), transport.Connect{}, packet.Offload{})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
}

// A running is a Conn in its Run.
type running struct {
	queue   *fq.Queue
	stop    context.CancelCauseFunc
	ended   chan struct{}
	err     error         // set when ended is closed
	packets chan [][]byte // what came in, by batch
}

// run starts c.Run. It is over when the test ends.
func run(t *testing.T, c *ws.Conn, keepalive time.Duration) *running {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &running{
		queue: fq.NewQueue(queueLimit), stop: cancel,
		ended: make(chan struct{}), packets: make(chan [][]byte, 1000),
	}
	go func() {
		defer close(r.ended)
		r.err = c.Run(ctx, r.queue, keepalive, func(b *packet.Batch) error {
			select {
			case r.packets <- tuntest.PacketsOf(b):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	t.Cleanup(func() {
		cancel(nil)
		<-r.ended
	})
	return r
}

// wait returns the error of Run.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(patience):
		t.Fatal("Run does not end")
		return nil
	}
}

// receive returns the next n IP packets that came in.
func (r *running) receive(t *testing.T, n int) (all [][]byte) {
	t.Helper()
	late := time.After(patience)
	for len(all) < n {
		select {
		case packets := <-r.packets:
			all = append(all, packets...)
		case <-r.ended:
			t.Fatalf("%d of %d packets, then: %v", len(all), n, r.err)
		case <-late:
			t.Fatalf("%d of %d packets, then nothing", len(all), n)
		}
	}
	return all
}

// closedWith checks that err is a CloseError with this code, and a reason that begins so.
func closedWith(t *testing.T, err error, code transport.Code, reason string, remote bool) {
	t.Helper()
	var closed *transport.CloseError
	if !errors.As(err, &closed) {
		t.Fatalf("%v is no CloseError; want code %d, %q", err, code, reason)
	}
	if closed.Code != code || !strings.HasPrefix(closed.Reason, reason) || closed.Remote != remote {
		t.Errorf("closed with %+v; want code %d, %q…, remote %v", *closed, code, reason, remote)
	}
}

// through makes a proxy of everything.
func through(proxy string) dial.ProxyFunc {
	return func(*url.URL) (*url.URL, error) { return url.Parse(proxy) }
}
