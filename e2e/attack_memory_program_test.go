package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// The attack of TestMaxMemory, which is bounded in sessions and time.
const (
	attackers   = 256
	attackTime  = 5 * time.Second
	attackBurst = 16 // large pings
	attackPause = 100 * time.Millisecond
)

// memoryLoad is what each session of TestMaxMemory sends.
type memoryLoad struct {
	name    string
	tokens  int
	framing string
	pause   time.Duration // after each write
	once    bool          // one write
	data    func(t *testing.T, own, other string) []byte
}

// memoryLoads returns the loads of clients of a server with the address 10.1.0.1.
func memoryLoads() []memoryLoad {
	return []memoryLoad{
		{name: "one token", tokens: 1, framing: "ip", pause: attackPause, data: largePings},
		{name: "a token each", tokens: attackers, framing: "ip", pause: attackPause,
			data: largePings},
		{name: "small pings", tokens: 1, framing: "ip", data: smallPings},
		{name: "small pings once", tokens: 1, framing: "ip", once: true, data: func(
			t *testing.T, own, other string) []byte {
			t.Helper()
			return bytes.Repeat(smallPings(t, own, other), 3)
		}},
		{name: "small datagrams to each other", tokens: 1, framing: "vnet",
			data: smallDatagrams},
	}
}

func largePings(t *testing.T, own, _ string) []byte {
	t.Helper()
	return bytes.Repeat(hostile.Frame(0x82, echoRequest(t, own, "10.1.0.1", 1300)), attackBurst)
}

// smallPings returns one message with pings of minimal size.
func smallPings(t *testing.T, own, _ string) []byte {
	t.Helper()
	return hostile.Frame(0x82, bytes.Repeat(echoRequest(t, own, "10.1.0.1", 0), 4000))
}

// smallDatagrams returns one message, in framing vnet, with datagrams of one byte that belong to a
// flow each.
func smallDatagrams(t *testing.T, own, other string) []byte {
	t.Helper()
	record := append(make([]byte, 10), echoRequest(t, own, other, 1)...)
	ip := record[10:]
	ip[9], ip[10], ip[11] = 17, 0, 0
	binary.BigEndian.PutUint16(ip[10:], hostile.Checksum(ip[:20]))
	var all []byte
	for port := range uint16(4000) {
		for i, v := range []uint16{1024 + port, 9, 9, 0} { // without a checksum (RFC 768)
			binary.BigEndian.PutUint16(ip[20+2*i:], v)
		}
		all = append(all, record...)
	}
	return hostile.Frame(0x82, all)
}

// startLoad opens sessions from several hosts, with the tokens in turn, each of which sends the
// load and reads nothing. over is closed when all have sent; the sessions last until ctx ends.
func startLoad(ctx context.Context, t *testing.T, from []*lab.Host, tokens []string,
	load memoryLoad) (over <-chan struct{}) {
	t.Helper()
	for _, h := range from {
		//nolint:contextcheck // a lab has its own; what the server sends shall wait at the server
		h.Sysctl("net.ipv4.tcp_rmem", "4096 8192 8192")
	}
	sessions := make([]*rawSession, attackers)
	for i := range sessions {
		//nolint:contextcheck // its connection ends with ctx, below
		sessions[i] = dialSessionAs(t, from[i%len(from)], tokens[i%len(tokens)], load.framing)
		context.AfterFunc(ctx, func() { _ = sessions[i].conn.Close() })
	}
	var all sync.WaitGroup
	for i, s := range sessions {
		data := load.data(t, s.address, sessions[(i+1)%attackers].address)
		all.Go(func() {
			pause(ctx, rand.N(attackPause)) // so that they do not send at once
			_ = s.conn.SetWriteDeadline(time.Now().Add(attackTime))
			for {
				if _, err := s.conn.Write(data); err != nil || load.once {
					return
				}
				pause(ctx, load.pause)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
		if load.once {
			pause(ctx, attackTime)
		}
	}()
	return done
}
