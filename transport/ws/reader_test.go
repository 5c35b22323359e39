package ws_test

import (
	"errors"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
)

// While as many connections as may are busy with what came, the others leave theirs in the socket;
// when one is done, or has ended, another goes on.
func TestReadersTakeTurns(t *testing.T) {
	const sessions = 8
	b := fq.NewBudget(1 << 20) // little: one at a time
	busy, proceed := make(chan struct{}, sessions), make(chan error)
	ended := make(chan error, sessions)
	address := accepting(t, nil, func(c *ws.Conn) {
		_, err := c.Requested(t.Context(), packet.Offload{})
		if err == nil {
			err = c.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, granted(),
				packet.Offload{})
		}
		if err != nil {
			t.Error(err)
		}
		subflows := b.NewSubflows(8<<20, "")
		defer subflows.Close()
		queue := subflows.Join()
		ended <- c.Run(t.Context(), queue, patience, func(*packet.Batch) error {
			busy <- struct{}{}
			return <-proceed
		})
		subflows.Leave(queue)
	})
	t.Cleanup(func() { close(proceed) }) // before the handlers are waited for
	for range sessions {
		r := dialRaw(t, address)
		r.connect()
		r.frame(fin|opBinary, ipPacket(1, 1, 100))
	}
	for i := range sessions {
		<-busy
		select {
		case <-busy:
			t.Fatal("two are busy at once")
		case <-time.After(50 * time.Millisecond): // the others have come, or will
		}
		if i%2 == 0 {
			proceed <- nil
			continue
		}
		over := errors.New("over")
		proceed <- over
		if err := <-ended; !errors.Is(err, over) {
			t.Errorf("a connection ended: %v", err)
		}
	}
}
