package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"tunnel/packet"
	"tunnel/server"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

const (
	patience = hubtest.Patience
	token    = hubtest.Token
)

// hub is a server that runs.
type hub struct {
	*hubtest.Hub
	t *testing.T
}

// serve starts a server for network, with whatever change makes of its Config. It has stopped when
// the test ends.
func serve(t *testing.T, network string, change func(*server.Config)) *hub {
	t.Helper()
	return serveFile(t, "", network, change)
}

// serveFile is serve with what a file has kept.
func serveFile(t *testing.T, path, network string, change func(*server.Config)) *hub {
	t.Helper()
	h := &hub{hubtest.New(t), t}
	// the address of httptest's certificate
	h.Address, h.Network, h.Change = "127.0.0.1:0", network, change
	if path != "" {
		h.File = path
	}
	h.Start()
	return h
}

// logged waits until text is in the log n times.
func (h *hub) logged(text string, n int) {
	h.t.Helper()
	h.Log.Until(h.t, text, n)
}

// drops stops the server and returns its counts, without those that are 0.
func (h *hub) drops() map[string]int {
	h.t.Helper()
	if err := h.Stop(); err != nil {
		h.t.Error(err)
	}
	for line := range bytes.Lines(h.Log.Text()) {
		var entry struct {
			Msg   string
			Drops map[string]int
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			h.t.Fatal(err)
		}
		if entry.Msg == "stopped" {
			for reason, n := range entry.Drops {
				if n == 0 {
					delete(entry.Drops, reason)
				}
			}
			return entry.Drops
		}
	}
	h.t.Fatal("no line about the stop")
	return nil
}

// dialer returns a dialer of the hub.
func (h *hub) dialer() *ws.Dialer {
	h.t.Helper()
	u, err := transport.ParseURL("ws://" + h.Address)
	if err != nil {
		h.t.Fatal(err)
	}
	return &ws.Dialer{Dialer: dial.Dialer{URL: u}, Token: token}
}

// member is a client of the hub. It reads and writes only when the test says so.
type member struct {
	t    *testing.T
	conn *ws.Conn
	link transport.Link
}

// dial connects and asks for an address; the error is that of either.
func (h *hub) dial(ask transport.Connect) (*member, error) {
	h.t.Helper()
	return h.dialWith(token, ask)
}

// dialWith is dial with another token.
func (h *hub) dialWith(token string, ask transport.Connect) (*member, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	dialer := h.dialer()
	dialer.Token = token
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	link, err := conn.Request(ctx, ask, packet.Offload{})
	if err != nil {
		conn.Close(transport.CodeNormal, "")
		return nil, err
	}
	return &member{h.t, conn, link}, nil
}

// join is a dial that succeeds. The member leaves when the test ends, if it has not before.
func (h *hub) join(ask transport.Connect) *member {
	h.t.Helper()
	m, err := h.dial(ask)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(m.leave)
	return m
}

// own returns the member's address.
func (m *member) own() string { return m.link.Address.String() }

// leave closes the connection and waits until the server knows.
func (m *member) leave() { m.conn.Close(transport.CodeNormal, "the member leaves") }

// sends sends packets in one batch.
func (m *member) sends(packets ...[]byte) {
	m.t.Helper()
	var b packet.Batch
	for _, p := range packets {
		tuntest.Add(&b, p)
	}
	if err := m.conn.WriteBatch(&b); err != nil {
		m.t.Fatal(err)
	}
}

// gets returns the next n packets.
func (m *member) gets(n int) (all [][]byte) {
	m.t.Helper()
	for len(all) < n {
		var b packet.Batch
		if err := m.conn.ReadBatch(&b); err != nil {
			m.t.Fatalf("%s: %d of %d packets, then: %v", m.own(), len(all), n, err)
		}
		all = append(all, tuntest.PacketsOf(&b)...)
	}
	return all
}

// told reads until the server closes the connection; it returns the packets until then, and how.
func (m *member) told() (packets [][]byte, closed transport.CloseError) {
	m.t.Helper()
	for {
		var b packet.Batch
		err := m.conn.ReadBatch(&b)
		if err == nil {
			packets = append(packets, tuntest.PacketsOf(&b)...)
			continue
		}
		var ce *transport.CloseError
		if !errors.As(err, &ce) {
			m.t.Errorf("%s: ended without a close frame: %v", m.own(), err)
			return packets, closed
		}
		return packets, *ce
	}
}
