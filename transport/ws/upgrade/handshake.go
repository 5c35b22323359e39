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

	"nhooyr.io/websocket"

	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/tcp"
)

// The WebSocket library makes the opening handshake only: for the library, its connection ends
// after that. Package ws reads and writes the frames itself, because the library passes each read
// and write to other goroutines.

// handshake is the connection that net/http and the library get in place of the tcp.Conn. It
// implements dialing, RoundTrip and Hijack for them.
type handshake struct {
	*tcp.Conn
	over   atomic.Bool
	given  bool              // dial has returned the connection
	client http.RoundTripper // of the client's side
	body   io.ReadCloser     // client: the bytes after the response that net/http has read
	early  []byte            // server: the bytes after the request that net/http has read

	asked chan struct{} // client: closed when the request was sent, or cannot be sent
	once  sync.Once     // to close asked
	mu    sync.Mutex    // guards first
	first []byte        // client: the first bytes of the response
}

// Read returns io.EOF after the handshake. On the client it waits until the request was sent:
// otherwise net/http would log to stderr about a server that speaks first.
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

// request unblocks Read.
func (h *handshake) request() {
	if h.asked != nil {
		h.once.Do(func() { close(h.asked) })
	}
}

// answerStart returns the first bytes of the server's response.
func (h *handshake) answerStart() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.first)
}

// Close closes the connection, except after the handshake.
func (h *handshake) Close() error {
	h.request()
	if h.over.Load() {
		return nil
	}
	return h.Conn.Close()
}

// dial is the DialContext of an http.Transport.
func (h *handshake) dial(context.Context, string, string) (net.Conn, error) {
	if h.given {
		return nil, errors.New("the server closed the connection")
	}
	h.given = true
	return h, nil
}

// RoundTrip keeps the body of the response, which has the bytes that arrived after it.
func (h *handshake) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.client.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		h.body = resp.Body
	}
	return resp, err
}

// hijacker is the http.ResponseWriter for the library.
type hijacker struct {
	http.ResponseWriter
	hands *handshake
}

// Hijack takes the connection, and the bytes that net/http has read, over from net/http.
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

// end takes the connection over from the library, and returns the bytes that have arrived after the
// other side's part of the handshake.
func (h *handshake) end(ws *websocket.Conn) (early []byte, err error) {
	h.over.Store(true)
	if h.body != nil {
		h.early, err = io.ReadAll(h.body)
	}
	_ = ws.CloseNow() // its goroutine ends; the connection stays
	return h.early, err
}

// Server answers the request r for a WebSocket on conn. It returns the bytes that have arrived
// after r, and the subprotocol, "" for none.
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
