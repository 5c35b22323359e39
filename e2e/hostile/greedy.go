package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A greedy session sends bursts of large pings, with pauses.
const (
	pingSize   = 1300
	pingBurst  = 16
	burstPause = 100 * time.Millisecond
)

// AllIn begins the line that is printed when all greedy sessions are connected.
const AllIn = "all in"

// greedy opens sessions with the tokens in turn, each of which pings to until ctx ends and does not
// read the replies. Without tokens the target is a Read, which has no sessions.
func greedy(ctx context.Context, target string, tokens []string, sessions int, to netip.Addr,
	out io.Writer) error {
	all := make([]*Session, sessions)
	for i := range all {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return err
		}
		defer conn.Close()
		if len(tokens) == 0 {
			all[i] = &Session{Conn: conn, Address: to.String()}
			continue
		}
		if all[i], err = Upgrade(conn, tokens[i%len(tokens)]); err != nil {
			return err
		}
		if err := all[i].Connect("ip"); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(out, "%s: %d\n", AllIn, sessions)
	var group sync.WaitGroup
	for _, s := range all {
		own, err := netip.ParseAddr(s.Address)
		if err != nil {
			return err
		}
		data := bytes.Repeat(Frame(Fin|OpBinary, EchoRequest(own, to, pingSize)), pingBurst)
		group.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = s.Conn.Close() })()
			pause := time.NewTimer(rand.N(burstPause)) // so that they do not send at once
			for {
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
				if _, err := s.Conn.Write(data); err != nil {
					return
				}
				pause.Reset(burstPause)
			}
		})
	}
	group.Wait()
	return nil
}
