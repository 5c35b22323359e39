// Package hostile implements hostile clients for tests and benchmarks: sessions that send arbitrary
// bytes as WebSocket frames, and floods of unauthenticated connections.
package hostile

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// dialWait bounds the time to set up a session.
const dialWait = 30 * time.Second

// Session is an authenticated connection on which a client can send anything.
type Session struct {
	Conn    net.Conn
	Reads   *bufio.Reader // bytes from the server
	Address string        // in the tunnel; "" before Connect
}

// Upgrade makes conn a WebSocket. The caller closes conn in any case.
func Upgrade(conn net.Conn, token string) (*Session, error) {
	s := &Session{Conn: conn, Reads: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(dialWait))
	if _, err := fmt.Fprintf(conn,
		"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"+
			"Sec-WebSocket-Protocol: tunnel.v1\r\nAuthorization: Bearer "+
			"%s\r\n\r\n", token); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(s.Reads, nil)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade: %s", answer.Status)
	}
	return s, nil
}

// Connect requests an address and a framing. After it the connection has no deadline.
func (s *Session) Connect(framing string) error {
	message := fmt.Appendf(nil, `{"state":"connect","version":1,"framings":[%q],"uso":true}`,
		framing)
	if _, err := s.Conn.Write(Frame(Fin|OpText, message)); err != nil {
		return err
	}
	var head [2]byte
	if _, err := io.ReadFull(s.Reads, head[:]); err != nil {
		return err
	}
	if head[0] != Fin|OpText {
		return fmt.Errorf("wait for connected: frame %x", head)
	}
	n := int(head[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(s.Reads, long[:]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(s.Reads, text); err != nil {
		return err
	}
	var answer struct{ Address string }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Address == "" {
		return fmt.Errorf("answer to connect: %q %w", text, err)
	}
	s.Address = answer.Address
	return s.Conn.SetDeadline(time.Time{})
}
