package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a buffer that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// hub is a server that accepts every client, and closes each connection after a number of frames.
type hub struct {
	t      *testing.T
	frames int

	mu   sync.Mutex
	next int
	seen []string // the clients' first messages
}

func (h *hub) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil || req.Header.Get("Authorization") != "Bearer secret" || req.URL.Path != "/ws" {
		h.t.Errorf("request %+v, %v", req, err)
		return
	}
	_, _ = io.WriteString(c,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	ask, err := unmask(r)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.next++
	n := h.next
	h.seen = append(h.seen, string(ask))
	h.mu.Unlock()
	// A ping in between, as any intermediary may send it, and a long message.
	_, _ = c.Write([]byte{0x89, 2, 'h', 'i'})
	answer := fmt.Sprintf(
		`{"state":"connected","address":"10.1.1.%d","session":"s%d","keepalive":0.05,"more":%q}`,
		n, n, strings.Repeat("x", 200))
	_, _ = c.Write(append([]byte{0x81, 126, byte(len(answer) >> 8), byte(len(answer))}, answer...))
	for range h.frames {
		if _, err := unmask(r); err != nil {
			return
		}
		_, _ = c.Write([]byte{0x82, 3, 1, 2, 3})
	}
	_, _ = c.Write([]byte{0x88, 2, 0x03, 0xe9})
}

// unmask reads a client's frame of up to 65535 bytes.
func unmask(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return nil, err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		if _, err := io.ReadFull(r, head[2:4]); err != nil {
			return nil, err
		}
		n = int(binary.BigEndian.Uint16(head[2:4]))
	}
	data := make([]byte, 4+n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	for i := range n {
		data[4+i] ^= data[i%4]
	}
	return data[4:], nil
}

func TestClientsComeBack(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	h := &hub{t: t, frames: 4}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	var out lines
	done := make(chan error)
	go func() {
		done <- Main(ctx, []string{"-url", "ws://" + ln.Addr().String(), "-token", "secret",
			"-clients", "5", "-from", "127.0.0.1,127.0.0.2"}, &out)
	}()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(out.String(),
		AllUp+" 2: "); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not all came back:\n%s", out.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	again := 0
	for _, ask := range h.seen {
		if strings.Contains(ask, `"session":"s`) {
			again++
		}
	}
	if again < 5 {
		t.Errorf("%d clients resumed a session, want 5: %q", again, h.seen)
	}
	// This hub grants each connection another address.
	if moved := LastMoved(out.String()); moved < 5 {
		t.Errorf("%d moved:\n%s", moved, out.String())
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var out lines
	r := newReport(&out, 2)
	r.connected(1, false)
	r.connected(1, false)
	r.lost()
	r.connected(2, true)
	if text := out.String(); strings.Count(text, AllUp) != 1 ||
		!strings.HasPrefix(text, AllUp+" 1: 2 of 2 up, 0 moved, ") {
		t.Errorf("printed %q", text)
	}
	r.lost()
	r.connected(2, false)
	if text := out.String(); !strings.Contains(text, AllUp+" 2: 2 of 2 up, 1 moved") ||
		LastUp(text) != 2 || LastMoved(text) != 1 {
		t.Errorf("printed %q", text)
	}
	if LastUp("") != 0 {
		t.Error("clients out of nothing")
	}
}

func TestTooLongAnswer(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _, _ = b.Write([]byte{0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0}) }()
	c := &conn{Conn: a, r: bufio.NewReader(a)}
	if _, _, err := c.read(true); err == nil {
		t.Error("a message of 4 GiB was read")
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	server, err := url.Parse("ws://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	c := &client{crowd: &crowd{server: server, first: make(chan struct{}, 1)},
		source: netip.MustParseAddr("127.0.0.1")}
	for range 2 { // the second blocks if the first has left its element in first
		if _, _, err := c.connect(t.Context()); err == nil {
			t.Error("connected to a closed port")
		}
	}
}
