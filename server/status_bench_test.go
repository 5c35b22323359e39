package server_test

import (
	"encoding/json"
	"testing"

	"tunnel/packet"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// BenchmarkStatus prints what the status of a hub with 1,000 clients costs, with its JSON.
func BenchmarkStatus(b *testing.B) {
	h := hubtest.New(b)
	h.Network = "10.1.0.0/16"
	h.Start()
	u, err := transport.ParseURL("ws://" + h.Address)
	if err != nil {
		b.Fatal(err)
	}
	const clients = 1000
	dialer := &ws.Dialer{Dialer: dial.Dialer{URL: u}, Token: hubtest.Token}
	for range clients {
		conn, err := dialer.Dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close(transport.CodeNormal, "") })
		if _, err := conn.Request(b.Context(), transport.Connect{}, packet.Offload{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		hub := h.Server.Status()
		body, err := json.Marshal(hub)
		if err != nil || len(hub.Peers) != clients {
			b.Fatalf("%d peers, %v", len(hub.Peers), err)
		}
		b.ReportMetric(float64(len(body)), "B/answer")
	}
}
