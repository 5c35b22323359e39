package ws_test

import (
	"bufio"
	"crypto/sha1" // RFC 6455 section 4.2.2 asks for it
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"tunnel/transport"
)

// The opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
	fin            = 0x80
)

// raw is a WebSocket peer that writes its frames by hand.
type raw struct {
	t      *testing.T
	conn   net.Conn
	in     *bufio.Reader
	masked bool // a client's frames are
}

// dialRaw is a client of the server at address, in the state init.
func dialRaw(t *testing.T, address string) *raw {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return upgradeRaw(t, conn, address)
}

// upgradeRaw makes a WebSocket of a connection to the server at address.
func upgradeRaw(t *testing.T, conn net.Conn, address string) *raw {
	t.Helper()
	return upgradeAs(t, conn, address, transport.Subprotocol)
}

func upgradeAs(t *testing.T, conn net.Conn, address, subprotocol string) *raw {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: "+
		"websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+
		"MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		address, subprotocol)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the server answered %s", response.Status)
	}
	return &raw{t, conn, in, true}
}

// serveRaw is a server whose only connection speaks through speak, and returns its HOST:PORT.
func serveRaw(t *testing.T, speak func(*raw)) string {
	t.Helper()
	return serveTCP(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		request, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(conn,
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			acceptKey(request), transport.Subprotocol)
		speak(&raw{t, conn, in, false})
	})
}

// acceptKey is the proof that the other side speaks WebSocket (RFC 6455 section 4.2.2).
func acceptKey(request *http.Request) string {
	// as above
	hash := sha1.Sum([]byte(request.Header.Get("Sec-Websocket-Key") +
		"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(hash[:])
}

// serveTCP hands the first connection on a port of its own to speak, closes it after, and returns
// HOST:PORT. speak is over when the test ends.
func serveTCP(t *testing.T, speak func(net.Conn)) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		speak(conn)
	})
	t.Cleanup(func() {
		_ = ln.Close()
		group.Wait()
	})
	return ln.Addr().String()
}

// frame writes one frame; first is the opcode and the flags. That the other side has hung up is no
// failure here.
func (r *raw) frame(first byte, payload []byte) {
	r.t.Helper()
	_, _ = r.conn.Write(r.bytes(first, payload))
}

// bytes returns one frame.
func (r *raw) bytes(first byte, payload []byte) []byte {
	second := byte(0)
	if r.masked {
		second = 0x80
	}
	var b []byte
	switch n := len(payload); {
	case n < 126:
		b = append(b, first, second|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, first, second|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, second|127), uint64(n))
	}
	if !r.masked {
		return append(b, payload...)
	}
	key := []byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// text writes one text message.
func (r *raw) text(s string) { r.frame(fin|opText, []byte(s)) }

// binary writes one binary message.
func (r *raw) binary(b []byte) { r.frame(fin|opBinary, b) }

// next reads one frame; the opcode comes without its flags.
func (r *raw) next() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	if n > 125 {
		more := make([]byte, map[uint64]int{126: 2, 127: 8}[n])
		if _, err := io.ReadFull(r.in, more); err != nil {
			return 0, nil, err
		}
		n = 0
		for _, b := range more {
			n = n<<8 | uint64(b)
		}
	}
	key := make([]byte, 4)
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r.in, key); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r.in, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0] & 0xf, payload, err
}

// until reads frames until one with this opcode comes, and returns its payload.
func (r *raw) until(opcode byte) []byte {
	r.t.Helper()
	for {
		got, payload, err := r.next()
		if err != nil {
			r.t.Errorf("waiting for a frame with opcode %x: %v", opcode, err)
			return nil
		}
		if got == opcode {
			return payload
		}
	}
}

// closed reads until a close frame comes, answers it, and returns what it says.
func (r *raw) closed() (code transport.Code, reason string) {
	r.t.Helper()
	payload := r.until(opClose)
	if len(payload) < 2 {
		r.t.Errorf("close frame with %d bytes", len(payload))
		return 0, ""
	}
	r.frame(fin|opClose, payload)
	return transport.Code(binary.BigEndian.Uint16(payload)), string(payload[2:])
}

// close writes a close frame.
func (r *raw) close(code transport.Code, reason string) {
	r.frame(fin|opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// connect goes from init to connected, as a client.
func (r *raw) connect() {
	r.t.Helper()
	r.text(connectText)
	r.until(opText)
}

// connectText is a connect as a simple client of another kind sends it.
const connectText = `{"state":"connect","version":1,"framings":["ip"]}`

// connectedText is an answer to it.
const connectedText = `{"state":"connected","version":1,"address":"10.1.1.3",` +
	`"peer":"10.1.1.4","network":"10.1.1.0/24",` +
	`"mtu":1400,"qlen":100,"framing":"ip","keepalive":20,"session":"secret"}`
