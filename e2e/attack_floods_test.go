package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// wireClient is a client on a host that writes arbitrary bytes as WebSocket frames.
type wireClient struct {
	t       *testing.T
	conn    net.Conn
	session *hostile.Session
}

// dialWire opens a plain connection and upgrades it to a WebSocket.
func dialWire(t *testing.T, h *lab.Host) *wireClient {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "tcp", directServer+":8443")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	session, err := hostile.Upgrade(conn, token)
	if err != nil {
		t.Fatal(err)
	}
	return &wireClient{t, conn, session}
}

// connect sends connect and waits for connected.
func (c *wireClient) connect() *wireClient {
	c.t.Helper()
	if err := c.session.Connect("ip"); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// flood writes data repeatedly until ctx ends or the server closes the connection, and returns the
// number of bytes written.
func (c *wireClient) flood(ctx context.Context, data []byte) int64 {
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	var sent int64
	for {
		n, err := c.conn.Write(data)
		sent += int64(n)
		if err != nil {
			return sent
		}
	}
}

// repeated returns a frame as often as it fills a good part of a socket buffer.
func repeated(frame []byte) []byte {
	return []byte(strings.Repeat(string(frame), 1+(64<<10)/len(frame)))
}

// Clients with a token flood the server. Another client's transfers go on, and the server's memory
// is bounded.
func TestFloodsFromClients(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--client-to-client")
	good := bin.connect(t, clients[0], directURL)
	idle := memory(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	running := 0
	start := func(c *wireClient, data []byte, read bool) {
		running++
		if read {
			go func() { _, _ = io.Copy(io.Discard, c.session.Reads) }()
		}
		go func() {
			defer func() { done <- struct{}{} }()
			c.flood(ctx, data)
		}()
	}
	// Echo requests to the good client, which answers them.
	own := func(i int) []byte { return echoRequest(t, addressOf(i), "10.1.1.3", 1300) }
	for i, f := range []struct {
		first []byte // sent once, before again
		again []byte
		read  bool
	}{
		{nil, repeated(hostile.Frame(0x89, nil)), true},
		{nil, repeated(hostile.Frame(0x89, make([]byte, 125))), false}, // the pongs are not read
		{nil, repeated(hostile.Frame(0x8a, nil)), true},
		{nil, repeated(hostile.Frame(0x82, nil)), true}, // heartbeats
		// An endless message of empty fragments.
		{hostile.Frame(0x02, nil), repeated(hostile.Frame(0x00, nil)), true},
		// A message that is never completed.
		{hostile.Frame(0x02, own(6)[:7]), hostile.Frame(0x89, nil), true},
		{nil, hostile.Frame(0x82, own(7)), false},          // the replies are not read
		{nil, repeated(hostile.Frame(0x82, own(0))), true}, // spoofed source
		{nil, hostile.Frame(0x81, []byte(`{"state":"dance"}`)), true},
		{nil, hostile.Frame(0x82, make([]byte, 1<<20)), true},
	} {
		c := dialWire(t, clients[1+i%2]).connect()
		if f.first != nil {
			if _, err := c.conn.Write(f.first); err != nil {
				t.Fatal(err)
			}
		}
		start(c, f.again, f.read)
	}
	sendFile(t, clients[0], server, "10.1.1.1", 2<<20)
	sendFile(t, server, clients[0], "10.1.1.3", 2<<20)
	// Each session may have a queue of 8 MiB, and some buffers.
	if now := memory(t, srv); now > idle+running*(12<<20) {
		t.Errorf("the server takes %d MiB, and took %d MiB before", now>>20, idle>>20)
	} else {
		t.Logf("the server takes %d MiB, and took %d MiB before", now>>20, idle>>20)
	}
	cancel()
	for range running {
		<-done
	}
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the good client lost its connection:\n%s", good.Stderr())
	}
	reaches(t, clients[0], "10.1.1.1")
}

// memory returns the resident memory of a program's worker in bytes.
func memory(t *testing.T, p *lab.Proc) int {
	t.Helper()
	return memoryOf(t, p, "VmRSS")
}

// memoryOf is memory by a field of proc_pid_status(5).
func memoryOf(t *testing.T, p *lab.Proc, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Worker()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, field+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no " + field)
	return 0
}

// loris keeps n connections open from a host, and opens another for each one that is closed.
func loris(ctx context.Context, h *lab.Host, n int, opened *atomic.Int64,
	hold func(context.Context, net.Conn)) {
	for range n {
		go func() {
			for ctx.Err() == nil {
				conn, err := h.DialContext(ctx, "tcp", directServer+":8443")
				if err == nil {
					opened.Add(1)
					stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
					hold(ctx, conn)
					stop()
					_ = conn.Close()
				}
				pause(ctx, 500*time.Millisecond)
			}
		}()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// drip sends text byte by byte, two a second, repeatedly, until the connection is closed.
func drip(ctx context.Context, conn net.Conn, text string) {
	go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := io.WriteString(conn, text[i%len(text):][:1]); err != nil {
			return
		}
		pause(ctx, 500*time.Millisecond)
	}
}
