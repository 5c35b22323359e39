package contender

import (
	"regexp"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// awaitPort waits until a host listens on a TCP port.
func awaitPort(t *scope.Scope, h *lab.Host, port string) {
	for deadline := time.Now().Add(scope.Soon); ; t.Sleep(50 * time.Millisecond) {
		if h.Run("ss", "-Hltn", "sport = :"+port) != "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing listens on port %s of %s", port, h.Name())
		}
	}
}

// AddressOn waits until a device has an IPv4 address, and returns it.
func AddressOn(t *scope.Scope, h *lab.Host, dev string) string {
	pattern := regexp.MustCompile(`inet ([\d.]+)`)
	for deadline := time.Now().Add(scope.Soon); ; t.Sleep(50 * time.Millisecond) {
		out, _, _ := h.Try("ip", "-4", "-o", "addr", "show", "dev", dev)
		if found := pattern.FindStringSubmatch(out); found != nil {
			return found[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s of %s gets no address", dev, h.Name())
		}
	}
}
