package ws_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// A client that takes nothing of what waits for it is read slowly, and at once again when it reads:
// TestPause counts what a server is given, in a second and then until it is more.
func TestPause(t *testing.T) {
	t.Parallel()
	t.Run("ws", func(t *testing.T) {
		t.Parallel()
		client, server := connected(t)
		testPause(t, client, server)
	})
	t.Run("wss", func(t *testing.T) {
		t.Parallel()
		ca := newAuthority(t)
		client, server := pairOf(t, ca.server(t, "127.0.0.1"), func(address string) *ws.Dialer {
			d := dialer(t, "wss://"+address)
			d.TLS = ca.client()
			return d
		})
		agree(t, client, server)
		testPause(t, client, server)
	})
}

// sendWithoutEnd has a client send as fast as it can until ctx ends, while the queue to it gets
// more than it takes.
func sendWithoutEnd(ctx context.Context, t *testing.T, all *sync.WaitGroup, client *ws.Conn,
	queue *fq.Queue) {
	t.Helper()
	all.Go(func() {
		for ctx.Err() == nil {
			push(queue, ipPacket(1, 1, 60000))
			time.Sleep(time.Millisecond)
		}
	})
	all.Go(func() {
		var b packet.Batch
		for ctx.Err() == nil {
			b.Reset()
			for range 10 {
				b.Add(tuntest.WithHeader(ipPacket(1, 1, 1300)))
			}
			if err := client.WriteBatch(&b); err != nil {
				if ctx.Err() == nil {
					t.Errorf("the client stopped sending: %v", err)
				}
				return
			}
		}
	})
}

func testPause(t *testing.T, client, server *ws.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	queue := fq.NewQueue(queueLimit)
	var given atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() {
		_ = server.Run(ctx, queue, patience, func(b *packet.Batch) error {
			given.Add(int64(b.Size()))
			return nil
		})
	})
	sendWithoutEnd(ctx, t, &all, client, queue)
	const slow = 200 << 10 // a second's; else it would be hundreds of megabytes
	for end := time.Now().Add(patience); ; {
		before := given.Load()
		time.Sleep(time.Second)
		n := given.Load() - before
		if 0 < n && n < slow {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes in a second of a client that reads nothing", n)
		}
	}
	before := given.Load()
	all.Go(func() {
		var b packet.Batch
		for err := error(nil); err == nil; {
			err = client.ReadBatch(&b)
		}
	})
	for end := time.Now().Add(patience); given.Load()-before < 100*slow; time.Sleep(
		time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes after the client has begun to read", given.Load()-before)
		}
	}
}
