package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// stranger is a client with the token and without scruples: it writes frames byte by byte, as no library would.
type stranger struct {
	t       *testing.T
	conn    net.Conn
	r       *bufio.Reader
	address string // its tunnel address
}

// Bytes of a WebSocket frame (RFC 6455 section 5.2).
const (
	fin        = 0x80
	masked     = 0x80
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
)

// dialStranger connects from a host to directURL's server and gets an address, with this framing.
func dialStranger(t *testing.T, h *lab.Host, framing string) *stranger {
	t.Helper()
	return dialStrangerAs(t, h, token, framing)
}

// dialStrangerAs is dialStranger with another token.
func dialStrangerAs(t *testing.T, h *lab.Host, token, framing string) *stranger {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "tcp", directServer+":8443")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(soon))
	s := &stranger{t: t, conn: conn, r: bufio.NewReader(conn)}
	s.write([]byte("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: tunnel.v1\r\nAuthorization: Bearer " + token + "\r\n\r\n"))
	resp, err := http.ReadResponse(s.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %+v %v", resp, err)
	}
	_ = resp.Body.Close()
	s.write(frame(fin|opText, masked, fmt.Appendf(nil, `{"state":"connect","version":1,"framings":[%q],"uso":true}`, framing)))
	var head [4]byte
	if _, err := io.ReadFull(s.r, head[:2]); err != nil {
		t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(s.r, head[2:]); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(head[2:]))
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(s.r, text); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Address string }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Address == "" {
		t.Fatalf("answer to connect: %q %v", text, err)
	}
	s.address = answer.Address
	_ = conn.SetDeadline(time.Time{})
	return s
}

// write sends bytes as they are, for as long as the server takes them.
func (s *stranger) write(data []byte) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(soon))
	_, err := s.conn.Write(data)
	return err == nil
}

// cut waits until the server ends the connection.
func (s *stranger) cut() error {
	_ = s.conn.SetReadDeadline(time.Now().Add(soon))
	_, err := io.Copy(io.Discard, s.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // an orderly end, or a reset because there was more to read
}

// frame is a frame whose length is right. A masked one has the mask 0, so that its payload stands in it as it is.
func frame(first byte, mask byte, payload []byte) []byte {
	return append(frameHead(first, mask, uint64(len(payload))), payload...)
}

// frameHead is the head of a frame that claims to have n bytes.
func frameHead(first byte, mask byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), n)
	}
	if mask != 0 {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// noise is n random bytes.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
