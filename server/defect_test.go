package server_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync"
	"testing"

	"tunnel/packet"
	"tunnel/server"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// flawed is a device that brings what no kernel does, so that the program meets a defect.
type flawed struct {
	*tuntest.Device
	reads chan func(give func(*packet.Batch))
	fatal uint32 // the id of a packet that WriteBatch panics over
}

func (d *flawed) ReadBatches(give func(*packet.Batch)) error {
	for {
		select {
		case read := <-d.reads:
			read(give)
		case <-d.Closed():
			return os.ErrClosed
		}
	}
}

func (d *flawed) WriteBatch(b *packet.Batch) (int, error) {
	for _, p := range tuntest.PacketsOf(b) {
		if tuntest.IDOf(p) == d.fatal {
			panic("a packet that the device cannot bear")
		}
	}
	return d.Device.WriteBatch(b)
}

// brings has the reader give these out in one batch.
func (d *flawed) brings(packets ...*packet.Packet) {
	d.reads <- func(give func(*packet.Batch)) {
		var b packet.Batch
		for _, p := range packets {
			b.Add(p)
		}
		give(&b)
		b.Reset()
	}
}

// sound returns ip as a record.
func sound(ip []byte) *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + len(ip))
	clear(p.Record()[:packet.HeaderLen])
	copy(p.IP(), ip)
	return p
}

// poison returns a super-packet of no transport that is segmented, over which segmentation panics.
func poison(to string) *packet.Packet {
	p := sound(tuntest.Packet("10.1.1.1", to, 666))
	p.IP()[9] = 1
	packet.Header{Flags: 1, GSOType: 1, GSOSize: 3}.Put(p.Record())
	return p
}

func serveFlawed(t *testing.T) (*hub, *flawed) {
	t.Helper()
	d := &flawed{reads: make(chan func(func(*packet.Batch))), fatal: 0xdead}
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		d.Device = c.Device.(*tuntest.Device)
		c.Device, c.Site.Together = d, true
	})
	return h, d
}

// endedByDefect fails the test unless m was told that the server has failed.
func endedByDefect(t *testing.T, m *member) {
	t.Helper()
	if _, closed := m.told(); closed.Code != transport.CodeInternal || !closed.Remote {
		t.Errorf("%s ends with %+v; want code 1011", m.own(), closed)
	}
}

// A panic over what is sent to one peer ends that peer, on any goroutine; it may come
// back.
func TestDefectInSending(t *testing.T) {
	t.Run("on the reader", func(t *testing.T) {
		h, d := serveFlawed(t)
		a, b := h.join(transport.Connect{Session: "a"}), h.join(transport.Connect{})
		for range 2 {
			d.brings(poison(a.own()), sound(tuntest.Packet("10.1.1.1", b.own(), 1)))
			endedByDefect(t, a)
			if p := b.gets(1)[0]; tuntest.IDOf(p) != 1 {
				t.Errorf("the other peer got packet %d", tuntest.IDOf(p))
			}
			a = h.join(transport.Connect{Session: "a"})
		}
		d.brings(sound(tuntest.Packet("10.1.1.1", a.own(), 2)))
		if p := a.gets(1)[0]; tuntest.IDOf(p) != 2 {
			t.Errorf("got packet %d after the return", tuntest.IDOf(p))
		}
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		text := h.Log.Text()
		if n := bytes.Count(text, []byte(`"stack"`)); n != 1 ||
			!bytes.Contains(text, []byte(`"defects":2`)) {
			t.Errorf("%d stacks in the log, and not two defects:\n%s", n, text)
		}
	})
	t.Run("on the goroutine that waits for the socket", func(t *testing.T) {
		h, d := serveFlawed(t)
		a, b := h.join(transport.Connect{}), h.join(transport.Connect{})
		for i := range uint32(400) { // more than sockets and queue hold
			d.brings(sound(tuntest.SizedPacket("10.1.1.1", a.own(), i, 60000)))
		}
		d.brings(poison(a.own()))
		d.brings(sound(tuntest.Packet("10.1.1.1", b.own(), 1)))
		b.gets(1)
		endedByDefect(t, a)
		d.brings(sound(tuntest.Packet("10.1.1.1", b.own(), 2)))
		b.gets(1)
	})
}

// A panic over what one peer has sent ends that peer.
func TestDefectInReceiving(t *testing.T) {
	h, d := serveFlawed(t)
	a, b := h.join(transport.Connect{}), h.join(transport.Connect{})
	a.sends(tuntest.Packet(a.own(), "10.1.1.1", d.fatal))
	endedByDefect(t, a)
	b.sends(tuntest.Packet(b.own(), "10.1.1.1", 1))
	if p := d.Gets(t); tuntest.IDOf(p) != 1 {
		t.Errorf("the kernel got packet %d", tuntest.IDOf(p))
	}
}

// A panic over a packet from the device costs that packet; one in the device's own reading is
// survived as well.
func TestDefectInReading(t *testing.T) {
	h, d := serveFlawed(t)
	m := h.join(transport.Connect{})
	empty := packet.NewPacket(packet.HeaderLen)
	d.brings(sound(tuntest.Packet("10.1.1.1", m.own(), 1)), empty,
		sound(tuntest.Packet("10.1.1.1", m.own(), 2)))
	if got := m.gets(2); tuntest.IDOf(got[0]) != 1 || tuntest.IDOf(got[1]) != 2 {
		t.Errorf("got packets %d and %d", tuntest.IDOf(got[0]), tuntest.IDOf(got[1]))
	}
	for id := range uint32(3) {
		d.reads <- func(func(*packet.Batch)) { panic("the reader has a defect") }
		d.brings(sound(tuntest.Packet("10.1.1.1", m.own(), id)))
		if p := m.gets(1)[0]; tuntest.IDOf(p) != id {
			t.Errorf("got packet %d; want %d", tuntest.IDOf(p), id)
		}
	}
	go m.told()
	if drops := h.drops(); drops["defect"] != 1 || len(drops) != 1 {
		t.Errorf("dropped %v", drops)
	}
}

// poisoned is a listener whose first connection makes the accept loop panic.
type poisoned struct {
	net.Listener
	once sync.Once
}

func (l *poisoned) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.once.Do(func() { c = poisonedConn{c} })
	return c, err
}

type poisonedConn struct{ net.Conn }

func (poisonedConn) RemoteAddr() net.Addr { panic("an address that the limiter cannot bear") }

// A panic in accepting a connection ends that connection.
func TestDefectInAccepting(t *testing.T) {
	var config server.Config
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { config = *c })
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	config.Device = tuntest.New()
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln := hubtest.Listen(t, "127.0.0.1:0")
	h.Address = ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, &poisoned{Listener: ln}) }()
	if m, err := h.dial(transport.Connect{}); err == nil {
		t.Errorf("%s has joined by a connection that is refused", m.own())
	}
	m, err := h.dial(transport.Connect{})
	if err != nil {
		t.Error(err)
	} else {
		go m.told()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
