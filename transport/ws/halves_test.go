package ws_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
)

// Halves of records are ended when they are beyond the budget. The reader that goes over the limit
// is in a callback of its socket and ends itself, or others that wait there for the budget. Neither
// may block the budget, which every push needs, for no Close returns while a callback runs.
func TestBudgetEndsReaders(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testBudgetEndsReaders(t, nil, dialRaw) })
	t.Run("TLS", func(t *testing.T) {
		ca := newAuthority(t)
		testBudgetEndsReaders(t, ca.server(t, "127.0.0.1"),
			func(t *testing.T, address string) *raw {
				t.Helper()
				conn, err := (&tls.Dialer{Config: ca.client()}).DialContext(t.Context(), "tcp",
					address)
				if err != nil {
					t.Fatal(err)
				}
				return upgradeRaw(t, conn, address)
			})
	})
}

func testBudgetEndsReaders(t *testing.T, config *tls.Config, dial func(*testing.T, string) *raw) {
	const (
		limit    = 1 << 20
		sessions = 60
	)
	b := fq.NewBudget(limit)
	full := b.NewQueue(8 << 20)
	defer full.Close()
	for i := range 1000 { // memory is short: buffers have the size of what is in them
		push(full, ipPacket(1, uint32(i), 1000))
	}
	joined, ended := make(chan *fq.Subflows, 1), make(chan error, sessions+1)
	address := accepting(t, config, func(c *ws.Conn) {
		_, err := c.Requested(t.Context(), packet.Offload{})
		request := transport.Connect{Framings: []string{"ip"}}
		if err = errors.Join(err, c.Grant(t.Context(), request, granted(),
			packet.Offload{})); err != nil {
			t.Error(err)
		}
		subflows := b.NewSubflows(8<<20, "")
		defer subflows.Close()
		queue := subflows.Join()
		joined <- subflows
		ended <- c.Run(t.Context(), queue, patience, func(*packet.Batch) error { return nil })
		subflows.Leave(queue)
	})
	join := func() (*raw, *fq.Subflows) {
		r := dial(t, address)
		r.connect()
		return r, <-joined
	}
	good, _ := join()
	var halves []func()
	var subflows []*fq.Subflows
	for i := range sessions {
		r, joinedSubflows := join()
		ip := make([]byte, 65000)
		ip[0] = 0x45
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		half := r.bytes(fin|opBinary, ip)[:30000+500*i] // the last that came holds most
		halves = append(halves, func() { _, _ = r.conn.Write(half) })
		subflows = append(subflows, joinedSubflows)
	}
	for i := range sessions / 2 { // each by itself
		halves[i]()
		most := int64(30000+500*i) - 20 // without the frame's header
		for late := time.Now().Add(patience); subflows[i].Held() < most && len(ended) == 0; {
			if time.Now().After(late) {
				settle(b)
				t.Fatalf("session %d holds %d bytes", i, subflows[i].Held())
			}
			time.Sleep(time.Millisecond)
		}
		settle(b)
	}
	var all sync.WaitGroup
	for _, half := range halves[sessions/2:] { // and all at once
		all.Go(half)
	}
	all.Wait()
	for range sessions / 4 {
		select {
		case err := <-ended:
			if !errors.Is(err, fq.ErrMemory) {
				t.Errorf("a connection ended: %v", err)
			}
		case <-time.After(patience):
			settle(b)
			t.Fatal("no connection ends while buffers hold too much")
		}
	}
	for late := time.Now().Add(patience); settle(b) > limit; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d bytes are held, of %d", settle(b), limit)
		}
	}
	good.frame(fin|opPing, []byte("on"))
	if got := string(good.until(opPong)); got != "on" {
		t.Errorf("the connection that holds nothing answers a ping with %q", got)
	}
}

// settle is b.Settle, which takes the budget's lock. When that is never free the whole run panics:
// a failed test waits for its handlers, and they wait for the budget.
func settle(b *fq.Budget) int64 {
	defer time.AfterFunc(patience, func() { panic("the budget is blocked for ever") }).Stop()
	return b.Settle()
}
