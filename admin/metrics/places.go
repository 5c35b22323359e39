package metrics

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// places are those of a listener's connections. When all are taken, the connection that has sent no
// complete request for the longest time gives its place to a new one: those that are silent cannot
// keep out who asks.
type places struct {
	net.Listener

	mu  sync.Mutex
	all []*place // the oldest first; guarded by mu
}

// A place is a connection's.
type place struct {
	net.Conn
	of    *places
	asked bool // a request has come; guarded by places.mu
}

// Accept implements net.Listener. A connection that finds all places taken by requests is closed.
func (p *places) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if taken := p.take(conn); taken != nil {
			return taken, nil
		}
		_ = conn.Close()
	}
}

func (p *places) take(conn net.Conn) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) >= maxConnections {
		silent := slices.IndexFunc(p.all, func(t *place) bool { return !t.asked })
		if silent < 0 {
			return nil
		}
		_ = p.all[silent].Conn.Close()
		p.all = slices.Delete(p.all, silent, silent+1)
	}
	taken := &place{Conn: conn, of: p}
	p.all = append(p.all, taken)
	return taken
}

// Close implements net.Conn.
func (t *place) Close() error {
	t.of.mu.Lock()
	if at := slices.Index(t.of.all, t); at >= 0 {
		t.of.all = slices.Delete(t.of.all, at, at+1)
	}
	t.of.mu.Unlock()
	return t.Conn.Close()
}

type placeKey struct{}

// context is the ConnContext of an http.Server.
func (p *places) context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, placeKey{}, conn)
}

// asks notes that a request has come on its connection.
func (p *places) asks(r *http.Request) {
	if t, ok := r.Context().Value(placeKey{}).(*place); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.asked = true
	}
}
