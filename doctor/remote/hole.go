package remote

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"tunnel/doctor"
	"tunnel/transport/dial"
	"tunnel/transport/ws/frame"
	"tunnel/transport/ws/upgrade"
)

// headers are what IPv4 and TCP without options put before a segment, in bytes.
const headers = 40

// holeTime bounds each step with one size of segments: those that pass do at once.
const holeTime = stepTime / 2

// findHole finds out whether large packets vanish on the path, after a step that got no answer: it
// takes the same steps with smaller segments, several sizes at the same time. It reports whether
// any of them passes, and the usual size still does not: that is then the failure of check.
func (p *path) findHole(ctx context.Context, check, saw string) bool {
	sizes := []int{1360, 1240, 1160, 960, 500} // packets of 1400, 1280, 1200, 1000, 540 bytes
	passes := make([]bool, len(sizes))
	var group sync.WaitGroup
	for i, size := range sizes {
		group.Go(func() {
			d := p.Dialer
			d.MaxSegment = size
			passes[i] = p.crosses(ctx, d, check) == nil
		})
	}
	group.Wait()
	for i, size := range sizes {
		if !passes[i] {
			continue
		}
		if p.crosses(ctx, p.Dialer, check) == nil { // the failure was of the moment
			return false
		}
		most := size + headers
		p.add(doctor.Finding{Check: check, Verdict: doctor.Fail, Problem: doctor.MTUHole,
			Saw: fmt.Sprintf("%s: with packets of at most %d bytes there is one: larger ones vanish "+
				"on the path, and no ICMP error says so", saw, most),
			Advice: fmt.Sprintf("have routers and firewalls on the path let ICMP \"fragmentation "+
				"needed\" through, or set the MTU of this machine's interface: `ip link set dev DEV mtu "+
				"%d`", most)})
		return true
	}
	return false
}

// crosses takes the steps up to check by d, and sends large messages after the last unless that was
// the TLS handshake, which has large segments in both directions.
func (p *path) crosses(ctx context.Context, d dial.Dialer, check string) error {
	conn, _, err := connect(ctx, &d, holeTime)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if check == checkTLS {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, holeTime)
	defer cancel()
	answered := false
	early, err := upgrade.Client(within, conn, upgrade.Request{URL: d.URL, Header: p.Header,
		Token: p.Token, Answered: func(*http.Response) { answered = true }})
	if err != nil {
		if answered { // whatever it says, it has come
			return nil
		}
		return err
	}
	g := &pinger{conn: conn, rest: early}
	return g.trip(burst, frame.MaxControlBody, holeTime)
}
