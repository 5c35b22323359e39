package ws

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A zone is what a name server of a test knows.
type zone struct {
	mu    sync.Mutex
	hosts map[string][]string // by name with a dot at the end
	// what every question of a type is answered by instead
	odd   map[dnsmessage.Type]dnsmessage.RCode
	mute  map[dnsmessage.Type]bool // types whose questions are not answered at all
	drops bool                     // queries with EDNS(0) are not answered at all
	old   bool                     // queries with EDNS(0) are answered by FORMERR
	delay time.Duration            // before each answer
}

// silence has the server answer nothing at all from now on.
func (z *zone) silence() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.mute = map[dnsmessage.Type]bool{dnsmessage.TypeA: true, dnsmessage.TypeAAAA: true}
}

// resolver starts a name server for z on UDP, and returns a resolver that asks it.
func (z *zone) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	pc, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := z.answer(buf[:n]); reply != nil {
				time.AfterFunc(z.delay, func() { _, _ = pc.WriteTo(reply, from) })
			}
		}
	}()
	// An abandoned lookup continues until its time-out, or until its socket is closed.
	var mu sync.Mutex
	var conns []net.Conn
	over := false
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return nil, net.ErrClosed
		}
		c, err := new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}}
}

// answer returns the reply to a query; nil is none.
func (z *zone) answer(query []byte) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	edns := len(m.Additionals) > 0
	if z.mute[q.Type] || z.drops && edns {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	addrs, known := z.hosts[strings.ToLower(q.Name.String())]
	if code, odd := z.odd[q.Type]; odd {
		m.RCode = code
	} else if z.old && edns {
		m.RCode = dnsmessage.RCodeFormatError
	} else if !known {
		m.RCode = dnsmessage.RCodeNameError
	} else {
		for _, text := range addrs {
			a := netip.MustParseAddr(text)
			header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
			switch {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header,
					Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header,
					Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}
