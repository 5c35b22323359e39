package server_test

import (
	"bytes"
	"testing"

	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// TestMemoryShort sends a client that does not read more than all queues may hold: its packets are
// dropped, and the log says so once, with who holds most.
func TestMemoryShort(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxMemory = 4 << 20 })
	stuck := h.join(transport.Connect{})
	for i := range uint32(100) { // more than the queues and the sockets hold
		var batch [][]byte
		for range 8 {
			batch = append(batch, tuntest.SizedPacket("10.1.1.1", stuck.own(), i, 60000))
		}
		h.Device.Sends(t, batch...)
	}
	h.logged("memory is short", 1)
	drops := h.drops()
	if drops["memory"] == 0 {
		t.Errorf("dropped %v", drops)
	}
	log := h.Log.Text()
	if n := bytes.Count(log, []byte("memory is short")); n != 1 ||
		!bytes.Contains(log, []byte("KiB in ")) {
		t.Errorf("%d lines: %s", n, log)
	}
}
