package e2e

import (
	"encoding/binary"
	"strings"
	"testing"

	"tunnel/e2e/hostile"
)

// Sessions each send half a record, each a little more than the one before, and wait. When the
// partial records exceed --max-memory the hub ends some of these sessions; another client goes on.
func TestMaxMemoryHalves(t *testing.T) {
	server, clients := star(t, 4)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--network", "10.1.0.0/20", "--max-memory", "32M",
		"--max-sessions", "0")
	good := bin.connect(t, clients[0], directURL)
	const (
		sessions = 400
		reason   = "its buffers hold too much memory"
	)
	ip := make([]byte, 65000)
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	record := hostile.Frame(hostile.Fin|hostile.OpBinary, ip)
	for i := range sessions {
		if i%20 == 0 {
			if out, _, code := clients[0].Try("ping", "-c3", "-i0.2", "-W2", "10.1.0.1"); code != 0 {
				t.Fatalf("with %d halves, %d ended, the good client's ping fails:\n%s",
					i, strings.Count(srv.Stderr(), reason), out)
			}
		}
		s := dialSession(t, clients[1+i%3], "ip")
		s.write(record[:50000+30*i])
	}
	clients[0].Run("ping", "-c3", "-i0.2", "-W2", "10.1.0.1")
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the good client lost its connection:\n%s", good.Stderr())
	}
	stop(t, srv)
	// The sessions from before memory was short hold most of it; the newest ones come after them.
	if n := strings.Count(srv.Stderr(), reason); n < 40 {
		t.Errorf("%d sessions were ended for their halves", n)
	} else {
		t.Logf("%d sessions were ended for their halves", n)
	}
}
