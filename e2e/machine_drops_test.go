package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A client drops packets with foreign addresses in both directions, and counts them in its last
// line. The server would let those through that come from a network that it pushes, but the client
// takes no public one.
func TestClientDrops(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--push-route", "198.51.100.0/24")
	proc := bin.connect(t, client, directURL)
	reaches(t, client, "10.1.1.1")
	cannotReach(t, client, "10.1.1.1", "-I", "198.51.100.2")
	cannotReach(t, server, "10.1.1.3", "-I", directServer)
	stop(t, proc)
	line := proc.WaitFor("msg=stopped", soon)
	if !strings.Contains(line, " drops.malformed=0 drops.source=3 drops.destination=0 ") {
		t.Errorf("three packets from outside the network are not counted: %s", line)
	}
	_, counted, _ := strings.Cut(line, " drops.foreign=")
	var foreign int
	// The kernel's own IPv6 packets are foreign too.
	if _, err := fmt.Sscan(counted, &foreign); err != nil || foreign < 3 {
		t.Errorf("three packets that may not go out are not counted: %s", line)
	}
}
