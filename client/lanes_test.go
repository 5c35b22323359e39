package client_test

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/client"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// startLanes starts a hub that allows so many lanes, and a client that wants so many and comes by a
// relay.
func startLanes(t *testing.T, allowed, wanted int) (*hub, *relay, *joined) {
	t.Helper()
	h := newHub(t)
	h.changed(func(c *server.Config) { c.MaxLanes = allowed })
	h.Start()
	r := newRelay(t, h.Address)
	return h, r, start(t, r.address, func(c *client.Config) { c.Lanes = wanted })
}

// logged waits until text is in the hub's log n times.
func (h *hub) logged(text string, n int) {
	h.t.Helper()
	h.Log.Until(h.t, text, n)
}

// both checks that packets pass both ways.
func both(t *testing.T, h *hub, j *joined, own string, id uint32) {
	t.Helper()
	j.device.Sends(t, tuntest.Packet(own, "10.1.1.1", id))
	if got := tuntest.IDOf(h.Device.Gets(t)); got != id {
		t.Errorf("the server got packet %d; want %d", got, id)
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", own, id))
	if got := tuntest.IDOf(j.device.Gets(t)); got != id {
		t.Errorf("the client got packet %d; want %d", got, id)
	}
}

// count returns how many events begin so.
func (j *joined) count(prefix string) (n int) {
	for _, e := range j.happened() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

// A session lasts while one of its lanes is up, and each that breaks comes back, whichever it is.
func TestLanes(t *testing.T) {
	h, r, j := startLanes(t, 4, 3)
	j.until("connected 10.1.1.3", 1)
	h.logged(`"lane connected"`, 2)
	for i := range 3 {
		both(t, h, j, "10.1.1.3", uint32(10*i))
		r.drop(0) // the oldest
		h.logged(`"lane lost"`, i+1)
		j.logged("lane lost", i+1) // what either still sends by it is gone
		both(t, h, j, "10.1.1.3", uint32(10*i+1))
		h.logged(`"lane connected"`, i+3)
	}
	if n := j.count("lost"); n > 0 {
		t.Errorf("the session was lost %d times", n)
	}
	r.cut()
	j.until("connected 10.1.1.3", 2)
	if n := j.count("lost"); n != 1 {
		t.Errorf("the session was lost %d times; want 1", n)
	}
	h.logged(`"lane connected"`, 7)
	both(t, h, j, "10.1.1.3", 100)
}

// The server's word on the number wins.
func TestLanesAllowed(t *testing.T) {
	h, r, j := startLanes(t, 2, 16)
	j.until("connected 10.1.1.3", 1)
	h.logged(`"lane connected"`, 1)
	time.Sleep(300 * time.Millisecond) // for more, were there more
	if n := r.count(); n != 2 {
		t.Errorf("%d connections; want 2", n)
	}
	h, r, j = startLanes(t, 1, 3)
	j.until("connected 10.1.1.3", 1)
	both(t, h, j, "10.1.1.3", 1)
	time.Sleep(300 * time.Millisecond)
	if n := r.count(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
}

// What the server says to one lane about the session counts for all: nobody goes on with a lane of
// what is over.
func TestLanesEnd(t *testing.T) {
	h, _, j := startLanes(t, 4, 3)
	j.until("connected 10.1.1.3", 1)
	h.logged(`"lane connected"`, 2)
	h.stop()
	h.Start()
	j.until("connected 10.1.1.3", 2)
	h.logged(`"lane connected"`, 4)
	if j.count("lost: the other side closed the connection: the server stops") != 1 ||
		j.count("lost") != 1 {
		t.Errorf("happened: %q", j.happened())
	}
	both(t, h, j, "10.1.1.3", 1)
	if err := j.stop(); err != nil {
		t.Error(err)
	}
	h.stop()
	if text := h.Log.Text(); bytes.Count(text, []byte(`"no_lane":0`)) != 2 {
		t.Errorf("the client asked for lanes of a session that was over:\n%s", text)
	}
}

// What one lane is told about the session ends it, even when the server has forgotten the others.
func TestLanesToldOnce(t *testing.T) {
	var attached atomic.Int32
	address := serve(t, func(conn *ws.Conn) {
		m, err := conn.Requested(t.Context(), packet.Offload{})
		if err != nil {
			return
		}
		link := granted()
		link.Lanes = 2
		_ = conn.Grant(t.Context(), m, link, packet.Offload{})
		if m.Lane != nil && attached.Add(1) == 1 {
			conn.Close(transport.CodeReplaced, "a newer connection resumed the session")
			return
		}
		for err == nil {
			err = conn.ReadBatch(new(packet.Batch))
		}
		conn.Close(transport.CodeNormal, "")
	})
	j := start(t, address, func(c *client.Config) { c.Lanes = 2 })
	j.until("lost: the other side closed the connection: a newer connection resumed the session", 1)
	j.until("connected", 2)
}

// A client that stops says so on all lanes, and is gone.
func TestLanesStop(t *testing.T) {
	h, _, j := startLanes(t, 4, 3)
	j.until("connected 10.1.1.3", 1)
	h.logged(`"lane connected"`, 2)
	if err := j.stop(); err != nil {
		t.Error(err)
	}
	h.logged("the client stops", 3)
	h.logged(`"disconnected"`, 1)
}

// A server that knows nothing of lanes is asked for none.
func TestLanesOldServer(t *testing.T) {
	asked := make(chan transport.Connect, 10)
	address := serve(t, func(conn *ws.Conn) {
		m, err := conn.Requested(t.Context(), packet.Offload{})
		if err != nil {
			return
		}
		asked <- m
		_ = conn.Grant(t.Context(), m, granted(), packet.Offload{})
		for err == nil {
			err = conn.ReadBatch(new(packet.Batch))
		}
		conn.Close(transport.CodeNormal, "")
	})
	j := start(t, address, func(c *client.Config) { c.Lanes = 4 })
	j.until("connected 10.1.1.3", 1)
	time.Sleep(300 * time.Millisecond)
	if m := <-asked; m.Lanes != 4 || m.Lane != nil || len(asked) > 0 {
		t.Errorf("asked %+v, and %d times more", m, len(asked))
	}
}
