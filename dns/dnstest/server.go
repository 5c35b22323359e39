package dnstest

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a name server outside of a Machine.
type Server struct {
	mu    sync.Mutex
	asked []string // guarded by mu
}

// Serve runs a name server at an address of "outside" that answers every name of type A by one
// address. It ends with the test.
func (m *Machine) Serve(address, answer string) *Server {
	m.t.Helper()
	var pc net.PacketConn
	must(m.t, m.outside(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(m.t.Context(), "udp", address+":53")
		return err
	}))
	s := &Server{}
	var running sync.WaitGroup
	running.Go(func() { s.serve(pc, netip.MustParseAddr(answer).As4()) })
	m.t.Cleanup(func() {
		_ = pc.Close()
		running.Wait()
	})
	return s
}

func (s *Server) serve(pc net.PacketConn, answer [4]byte) {
	Answer(pc, func(m *dnsmessage.Message) bool {
		s.mu.Lock()
		s.asked = append(s.asked, m.Questions[0].Name.String())
		s.mu.Unlock()
		m.Additionals = nil
		AnswerA(m, answer)
		return true
	})
}

// Answer answers queries of one question by what fill makes of them, or not at all where it returns
// false, until pc is closed.
func Answer(pc net.PacketConn, fill func(*dnsmessage.Message) bool) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 || !fill(&m) {
			continue
		}
		m.Response, m.RecursionAvailable = true, true
		if reply, err := m.Pack(); err == nil {
			_, _ = pc.WriteTo(reply, from)
		}
	}
}

// AnswerA adds an address to the answer to a query of type A; other types have none.
func AnswerA(m *dnsmessage.Message, address [4]byte) {
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: address},
		}}
	}
}

// Asked returns the names that were asked for, with a trailing dot, each once.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Clone(s.asked)
	slices.Sort(names)
	return slices.Compact(names)
}
