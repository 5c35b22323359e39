package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"nhooyr.io/websocket"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// rawClient speaks the protocol, well or badly, from a host without a TUN device.
type rawClient struct {
	t       *testing.T
	conn    *websocket.Conn
	address string // in the tunnel, set by connect
	session string // set by connect
}

// dialRaw opens a WebSocket from a host to a server with a literal address. No connect message has
// been sent yet.
func dialRaw(t *testing.T, h *lab.Host, url string) *rawClient {
	t.Helper()
	return dialRawWith(t, h, url, token)
}

// dialRawWith is dialRaw with another token.
func dialRawWith(t *testing.T, h *lab.Host, url, token string) *rawClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, url+"/ws", &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: &http.Transport{DialContext: h.DialContext}},
		HTTPHeader:      http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols:    []string{"tunnel.v1"},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		t.Fatalf("dial %s: %v (%+v)", url, err, resp)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &rawClient{t: t, conn: conn}
}

// send writes a text message.
func (c *rawClient) send(text string) {
	c.t.Helper()
	c.write(websocket.MessageText, []byte(text))
}

// write writes a message. An error is ignored, since the server may have closed the connection:
// closed returns how.
func (c *rawClient) write(typ websocket.MessageType, data []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	if err := c.conn.Write(ctx, typ, data); errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatalf("write: %v", err)
	}
}

// connect sends connect and waits for connected.
func (c *rawClient) connect() {
	c.t.Helper()
	c.send(`{"state":"connect","version":1,"framings":["ip"],"added-in-2031":{"x":[1]}}`)
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	typ, data, err := c.conn.Read(ctx)
	if err != nil || typ != websocket.MessageText {
		c.t.Fatalf("wait for connected: %v %v", typ, err)
	}
	var answer struct {
		State, Address, Peer, Network, Framing, Session string

		MTU       int
		Keepalive float64
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		c.t.Fatalf("%v\n%s", err, data)
	}
	if answer.State != "connected" || answer.Framing != "ip" || answer.Network == "" ||
		answer.Peer == "" ||
		answer.Session == "" || answer.MTU == 0 || answer.Keepalive == 0 {
		c.t.Fatalf("answer to connect: %s", data)
	}
	c.address, c.session = answer.Address, answer.Session
}

// closed reads until the server closes the connection, and returns the close code and reason.
func (c *rawClient) closed() websocket.CloseError {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	for {
		_, _, err := c.conn.Read(ctx)
		if err == nil {
			continue // packets sent before the close
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) {
			c.t.Errorf("ended without a close frame: %v", err)
		}
		return ce
	}
}

// answer replies to ICMP echo requests until the connection ends.
func (c *rawClient) answer() {
	for {
		_, data, err := c.conn.Read(c.t.Context())
		if err != nil {
			return
		}
		for len(data) >= 20 {
			n := int(binary.BigEndian.Uint16(data[2:]))
			if n < 20 || n > len(data) {
				c.t.Errorf("the server sent a malformed record: %x", data)
				return
			}
			if reply := echoReply(data[:n]); reply != nil {
				if c.conn.Write(c.t.Context(), websocket.MessageBinary, reply) != nil {
					return
				}
			}
			data = data[n:]
		}
	}
}

// echoReply turns an ICMP echo request into its reply, in place, or returns nil for any other
// packet.
func echoReply(p []byte) []byte {
	header := int(p[0]&15) * 4
	if p[0]>>4 != 4 || header < 20 || len(p) < header+8 || p[9] != 1 || p[header] != 8 {
		return nil
	}
	var source [4]byte
	copy(source[:], p[12:16])
	copy(p[12:16], p[16:20])
	copy(p[16:20], source[:])
	p[header] = 0
	binary.BigEndian.PutUint16(p[header+2:], 0)
	binary.BigEndian.PutUint16(p[header+2:], hostile.Checksum(p[header:]))
	return p
}

// echoRequest returns an IPv4 packet with an ICMP echo request.
func echoRequest(t *testing.T, from, to string, payload int) []byte {
	t.Helper()
	return hostile.EchoRequest(netip.MustParseAddr(from), netip.MustParseAddr(to), payload)
}

// long returns a text of n bytes.
func long(n int) string { return strings.Repeat("x", n) }
