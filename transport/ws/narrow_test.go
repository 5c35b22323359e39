package ws_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
)

// unread returns how many bytes the kernel holds, not read, of the established IPv4 connection
// between those two ports of this host. The client's port alone would not do: the kernel gives one
// port to several connections with other destinations, and lists those in TIME-WAIT too.
func unread(t *testing.T, own, client uint16) int {
	t.Helper()
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text())
		var sent, received int
		if len(f) > 4 && f[3] == "01" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", own)) &&
			strings.HasSuffix(f[2], fmt.Sprintf(":%04X", client)) {
			if _, err := fmt.Sscanf(f[4], "%x:%x", &sent, &received); err != nil {
				t.Fatal(err)
			}
			return received
		}
	}
	t.Fatal("the connection is not in /proc/net/tcp")
	return 0
}

// The kernel holds little of what a client sends that takes nothing, although the client was fast
// before, so that the kernel had given it a large buffer.
func TestPauseBoundsKernelMemory(t *testing.T) {
	t.Parallel()
	const bound = 512 << 10 // the buffer, and what was on the way; it would be many megabytes
	type accepted struct {
		conn   *ws.Conn
		client uint16
	}
	servers, ended := make(chan accepted, 1), make(chan struct{})
	defer close(ended)
	address := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if conn, err := ws.Accept(w, r, tcp.CongestionAuto); err == nil {
			servers <- accepted{conn, netip.MustParseAddrPort(r.RemoteAddr).Port()}
			<-ended
		}
	})
	own := netip.MustParseAddrPort(address).Port()
	client, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server := <-servers
	defer closeBoth(client, server.conn)
	agree(t, client, server.conn)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	queue := fq.NewQueue(queueLimit)
	all.Go(func() {
		err := server.conn.Run(ctx, queue, patience, func(*packet.Batch) error { return nil })
		if ctx.Err() == nil {
			t.Errorf("the server's side ended: %v", err)
		}
	})
	sendWithoutEnd(ctx, t, &all, client, queue)
	most, calm := 0, 0
	for end := time.Now().Add(patience); calm < 20 && time.Now().Before(end); {
		time.Sleep(250 * time.Millisecond)
		n := unread(t, own, server.client)
		if most = max(most, n); n > bound || most == 0 {
			calm = 0
		} else {
			calm++ // five seconds without a break
		}
	}
	if calm < 20 {
		t.Errorf("the kernel still holds %d bytes, the most was %d",
			unread(t, own, server.client), most)
	}
}
