package upgrade

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/tcp"

	"nhooyr.io/websocket"
)

// The WebSocket library shakes hands, and no more: it gets a connection that ends for it when that
// is done. Package ws has its own frames, because the library needs other goroutines for each read
// and write.

// handshake is the connection that net/http and the library get in place of the tcp.Conn. It dials,
// round-trips and hijacks for them.
type handshake struct {
	*tcp.Conn
	over   atomic.Bool
	given  bool              // to dial
	client http.RoundTripper // of the client's side
	body   io.ReadCloser     // of the client's side: what net/http has read and nobody taken
	early  []byte            // of the server's side: the same

	asked chan struct{} // of the client's side: closed when the request was sent, or never will be
	once  sync.Once     // to close asked
	mu    sync.Mutex    // guards first
	first []byte        // of the client's side: how the answer begins
}

// Read is the end of the connection when hands are shaken. On the client's side it waits for the
// request: net/http would write to stderr about a server that speaks first.
func (h *handshake) Read(p []byte) (int, error) {
	if h.asked == nil {
		return h.read(p)
	}
	<-h.asked
	n, err := h.read(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	if more := diagnose.GreetingLen - len(h.first); more > 0 {
		h.first = append(h.first, p[:min(n, more)]...)
	}
	return n, err
}

func (h *handshake) read(p []byte) (int, error) {
	if h.over.Load() {
		return 0, io.EOF
	}
	return h.Conn.Read(p)
}

func (h *handshake) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	h.request()
	return n, err
}

// request ends the wait of Read for the request.
func (h *handshake) request() {
	if h.asked != nil {
		h.once.Do(func() { close(h.asked) })
	}
}

// answerStart returns how the server's answer begins.
func (h *handshake) answerStart() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.first)
}

// Close closes the connection, unless hands are shaken.
func (h *handshake) Close() error {
	h.request()
	if h.over.Load() {
		return nil
	}
	return h.Conn.Close()
}

// dial is for an http.Transport.
func (h *handshake) dial(context.Context, string, string) (net.Conn, error) {
	if h.given {
		return nil, errors.New("the server closed the connection")
	}
	h.given = true
	return h, nil
}

// RoundTrip keeps the body of the answer: what came right behind the answer is in it.
func (h *handshake) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.client.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		h.body = resp.Body
	}
	return resp, err
}

// hijacker is the http.ResponseWriter that the library gets.
type hijacker struct {
	http.ResponseWriter
	hands *handshake
}

// Hijack takes the connection over from net/http, and what that has read of it.
func (j hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_, rw, err := http.NewResponseController(j.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Peek(rw.Reader.Buffered())
	j.hands.early = append([]byte(nil), early...)
	rw.Reader.Reset(j.hands)
	return j.hands, rw, nil
}

// end takes the connection away from the library, and returns what came right behind the other
// side's part of the handshake.
func (h *handshake) end(ws *websocket.Conn) (early []byte, err error) {
	h.over.Store(true)
	if h.body != nil {
		h.early, err = io.ReadAll(h.body)
	}
	_ = ws.CloseNow() // its goroutine ends; the connection stays
	return h.early, err
}

// Server answers the request r for a WebSocket on conn, and returns what came right behind it, and
// the subprotocol, "" for none.
func Server(w http.ResponseWriter, r *http.Request, conn *tcp.Conn) (early []byte, protocol string,
	err error) {
	hands := &handshake{Conn: conn}
	ws, err := websocket.Accept(hijacker{w, hands}, r, &websocket.AcceptOptions{
		Subprotocols:    []string{transport.Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, "", err
	}
	early, err = hands.end(ws)
	return early, ws.Subprotocol(), err
}
