package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// Servers that are not quite as they should be.

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// sessionIn returns the session that a file keeps.
func sessionIn(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	var kept struct{ Session string }
	if err != nil || json.Unmarshal(data, &kept) != nil || kept.Session == "" {
		t.Fatalf("%s holds %q, %v", path, data, err)
	}
	return kept.Session
}

// granted is a Connected that a client can use.
func granted() transport.Connected {
	return transport.Connected{
		Address: "10.1.1.3", Peer: "10.1.1.4", Network: "10.1.1.0/24",
		MTU: 1400, Qlen: 100, Keepalive: 20, Session: "secret",
	}
}

// serve hands each connection to handle, which ends it, and returns HOST:PORT. All are over when
// the test ends.
func serve(t *testing.T, handle func(*ws.Conn)) string {
	t.Helper()
	ln := hubtest.Listen(t, "127.0.0.1:0")
	var group sync.WaitGroup
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			group.Add(1)
			defer group.Done()
			if conn, err := ws.Accept(w, r, tcp.CongestionAuto); err == nil {
				handle(conn)
			}
		}),
		ConnContext: tcp.ConnContext, ReadHeaderTimeout: patience,
	}
	group.Go(func() { _ = web.Serve(tcp.Listener(ln, nil, nil)) })
	t.Cleanup(func() {
		_ = web.Close()
		group.Wait()
	})
	return ln.Addr().String()
}

// newSilent is a server that says nothing after connected.
func newSilent(t *testing.T, keepalive time.Duration) string {
	t.Helper()
	return serve(t, func(conn *ws.Conn) {
		if _, err := conn.Requested(t.Context(), packet.Offload{}); err != nil {
			return
		}
		m := granted()
		m.Keepalive = keepalive.Seconds()
		_ = conn.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, m,
			packet.Offload{})
		for err := error(nil); err == nil; {
			err = conn.ReadBatch(new(packet.Batch))
		}
		conn.Close(transport.CodeNormal, "")
	})
}

// A server is trusted with the private network, not with the rest of the machine; what it sends
// beyond is counted.
func TestServerIsFiltered(t *testing.T) {
	all := packet.Offload{Vnet: true, USO: true}
	address := serve(t, func(conn *ws.Conn) {
		request, _ := conn.Requested(t.Context(), all)
		_ = conn.Grant(t.Context(), request, granted(), all)
		var b packet.Batch
		for _, p := range [][]byte{
			tuntest.Packet("8.8.8.8", "10.1.1.3", 1),       // from outside the network
			tuntest.Packet("192.168.107.2", "10.1.1.3", 2), // from the client's own
			tuntest.Packet("10.1.1.1", "192.168.107.5", 3), // to another address of the client
			tuntest.Packet("10.1.1.1", "127.0.0.1", 4),
			tuntest.Packet("10.1.1.1", "10.1.1.5", 5), // to another client
			tuntest.Packet("10.1.1.1", "10.1.1.255", 6),
			tuntest.Packet("fd00::1", "fd00::3", 7),
			tuntest.Packet("10.1.1.1", "10.1.1.3", tuntest.RefusedID),
			tuntest.Packet("10.1.1.1", "10.1.1.3", 8),
			tuntest.Packet("10.1.1.5", "10.1.1.3", 9),
		} {
			tuntest.Add(&b, p)
		}
		tuntest.Add(&b, tuntest.Packet("10.1.1.1", "10.1.1.3", 10))
		packet.Header{GSOType: 3}.Put(b.Record(b.Len() - 1)) // a kind that no kernel takes
		if err := conn.WriteBatch(&b); err != nil {
			t.Error(err)
		}
		for err := error(nil); err == nil; {
			err = conn.ReadBatch(new(packet.Batch))
		}
		conn.Close(transport.CodeNormal, "")
	})
	c := start(t, address, nil)
	if a, b := tuntest.IDOf(c.device.Gets(t)), tuntest.IDOf(c.device.Gets(t)); a != 8 || b != 9 {
		t.Errorf("the kernel got packets %d and %d; want 8 and 9", a, b)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if n := len(c.device.ToKernel); n > 0 {
		t.Errorf("the kernel got %d more", n)
	}
	c.logged("drops.malformed=1 drops.source=3 drops.destination=4 drops.foreign=0 "+
		"drops.queue_full=0 drops.codel=0 drops.cut=0 drops.kernel=1", 1)
}

// While there is no server the queue fills, and what it loses is counted.
func TestQueueOverflows(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	h.stop()
	c.until("lost: ", 1)
	const sent, most = 300, 8 << 20 / 60000
	for range sent {
		c.device.Sends(t, tuntest.SizedPacket("10.1.1.3", "10.1.1.1", 1, 60000))
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	_, lost, _ := bytes.Cut(c.log.Text(), []byte("drops.queue_full="))
	var n int
	if _, err := fmt.Sscan(string(lost), &n); err != nil || n < sent-most || n > sent {
		t.Errorf("%d counted (%v), %d sent and at most %d kept:\n%s", n, err, sent, most,
			c.log.Text())
	}
}
