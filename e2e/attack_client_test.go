package e2e

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// rawSession is a hostile client with a token, which writes arbitrary bytes as WebSocket frames.
type rawSession struct {
	t       *testing.T
	conn    net.Conn
	r       *bufio.Reader
	address string // in the tunnel
}

// dialSession connects from a host to the server of directURL and negotiates an address and a
// framing.
func dialSession(t *testing.T, h *lab.Host, framing string) *rawSession {
	t.Helper()
	return dialSessionAs(t, h, token, framing)
}

// dialSessionAs is dialSession with another token.
func dialSessionAs(t *testing.T, h *lab.Host, token, framing string) *rawSession {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "tcp", directServer+":8443")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(soon))
	session, err := hostile.Upgrade(conn, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Connect(framing); err != nil {
		t.Fatal(err)
	}
	s := &rawSession{t: t, conn: conn, r: session.Reads, address: session.Address}
	return s
}

// write sends bytes as they are, for as long as the server takes them.
func (s *rawSession) write(data []byte) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(soon))
	_, err := s.conn.Write(data)
	return err == nil
}

// cut waits until the server ends the connection.
func (s *rawSession) cut() error {
	_ = s.conn.SetReadDeadline(time.Now().Add(soon))
	_, err := io.Copy(io.Discard, s.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // closed, or reset because unread data was left
}

// noise returns n random bytes.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
