package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// Each connected client is told, each another time to come back, and Run returns nil, with
// everything gone.
func TestStop(t *testing.T) {
	const clients = 100
	h := serve(t, "10.1.1.0/24", nil)
	told := make(chan transport.CloseError, clients)
	for range clients {
		m := h.join(transport.Connect{})
		go func() {
			_, closed := m.told()
			told <- closed
		}()
	}
	began := time.Now()
	if err := h.Stop(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
	times := map[time.Duration]bool{}
	var last time.Duration
	for range clients {
		closed := <-told
		after, ok := closed.ComeBackIn()
		if !ok || after < 500*time.Millisecond || !strings.HasPrefix(closed.Reason,
			"the server stops: come back in ") {
			t.Errorf("told %+v\n%s", closed, h.Log.Text())
		}
		times[after] = true
		last = max(last, after)
	}
	if len(times) != clients || last != 500*time.Millisecond+(clients-1)*3*time.Millisecond {
		t.Errorf("%d clients come back at %d times, the last after %v", clients, len(times), last)
	}
	if err := h.Device.ReadBatches(func(*packet.Batch) {}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the device is open: %v", err)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Address); err == nil {
		_ = conn.Close()
		t.Error("the listener is open")
	}
}

// Clients that do not answer, or never read what is waiting for them, do not hold it.
func TestStopWithStuckPeers(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	for range 5 {
		h.join(transport.Connect{})
	}
	stuck := h.join(transport.Connect{})
	for range 100 {
		h.Device.Sends(t, tuntest.SizedPacket("10.1.1.1", stuck.own(), 1, 60000),
			tuntest.SizedPacket("10.1.1.1", stuck.own(), 2, 60000))
	}
	began := time.Now()
	if err := h.Stop(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// One that has not said connect yet is told as well.
func TestStopBeforeConnect(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, strings.ReplaceAll("GET /ws HTTP/1.1\n"+upgrade+bearer+"\n", "\n",
		"\r\n"))
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	// Frames by hand: a ping, whose pong says that the server waits for connect, and the close
	// frame.
	_, _ = conn.Write([]byte{0x89, 0x80, 1, 2, 3, 4})
	want := append([]byte{0x8a, 0, 0x88, 2 + 16, 1001 >> 8, 1001 & 0xff}, "the server stops"...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got[:2]); err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if _, err := io.ReadFull(in, got[2:]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A device that fails ends the server with its error; clients are told.
func TestDeviceFails(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	m := h.join(transport.Connect{})
	h.Device.Failure <- tuntest.ErrDevice
	_, closed := m.told()
	if closed.Code != transport.CodeGoingAway {
		t.Errorf("told %+v", closed)
	}
	if err := h.Wait(); !errors.Is(err, tuntest.ErrDevice) {
		t.Errorf("Run returns %v", err)
	}
}

// broken is a listener that fails.
type broken struct{ net.Listener }

func (broken) Accept() (net.Conn, error) { return nil, errListener }

var errListener = errors.New("out of file descriptors, for ever")

func TestListenerFails(t *testing.T) {
	var config server.Config
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { config = *c })
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Device = tuntest.New()
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), broken{ln}); !errors.Is(err, errListener) {
		t.Errorf("Run returns %v", err)
	}
}

// A client that goes away without a word is noticed.
func TestSilentPeer(t *testing.T) {
	h := serve(t, "10.9.9.8/29", func(c *server.Config) { c.Keepalive = 200 * time.Millisecond })
	h.join(transport.Connect{}) // and never sends a heartbeat
	h.join(transport.Connect{})
	h.logged("the other side is silent", 2)
	h.Pass(lease.LongRest)
	h.join(transport.Connect{})
}
