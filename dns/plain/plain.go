// Package plain looks names up as getaddrinfo(3) asks name servers: without EDNS(0).
package plain

import (
	"context"
	"encoding/binary"
	"net"
	"time"
)

// Resolver returns a resolver that asks as r does, but without EDNS(0), as glibc does unless
// resolv.conf(5) has `options edns0`: some routers drop queries that have it, or answer FORMERR.
// Answers longer than 512 bytes then use TCP. The time-out of each query is `patience` times that
// of resolv.conf(5).
func Resolver(r *net.Resolver, patience time.Duration) *net.Resolver {
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{
		PreferGo: true, // the cgo resolver calls getaddrinfo(3), which sends no EDNS(0)
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// a net.PacketConn, by which net.Resolver knows it
			if udp, ok := conn.(*net.UDPConn); ok {
				return &plainUDP{udp, patience}, nil
			}
			return &plainTCP{conn, patience}, nil
		},
	}
}

// A plainUDP carries the queries of one net.Resolver to a name server without EDNS(0).
type plainUDP struct {
	*net.UDPConn
	patience time.Duration
}

func (c *plainUDP) Write(query []byte) (int, error) {
	_, err := c.UDPConn.Write(withoutEDNS(query))
	return len(query), err
}

func (c *plainUDP) SetDeadline(t time.Time) error {
	return c.UDPConn.SetDeadline(extend(t, c.patience))
}

// A plainTCP is a plainUDP for queries with their length in front (RFC 1035 section 4.2.2).
type plainTCP struct {
	net.Conn
	patience time.Duration
}

func (c *plainTCP) Write(message []byte) (int, error) {
	if len(message) < 2 {
		return c.Conn.Write(message)
	}
	query := withoutEDNS(message[2:])
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(message)), uint16(len(query)))
	_, err := c.Conn.Write(append(framed, query...))
	return len(message), err
}

func (c *plainTCP) SetDeadline(t time.Time) error {
	return c.Conn.SetDeadline(extend(t, c.patience))
}

// extend returns a time that is `times` times as far away as t.
func extend(t time.Time, times time.Duration) time.Time {
	return t.Add(time.Until(t) * (times - 1))
}

// withoutEDNS returns a query without the OPT record (RFC 6891 section 6.1.2) where that is the
// last and only additional record and has no options, as net.Resolver writes it; any other query is
// returned as it is.
func withoutEDNS(query []byte) []byte {
	const (
		header      = 12
		additionals = 10 // offset of their number in the header
		opt         = 11 // length of the record
	)
	at := len(query) - opt
	if at < header || binary.BigEndian.Uint16(query[additionals:]) != 1 ||
		[3]byte(query[at:]) != [3]byte{0, 0, 41} ||
		binary.BigEndian.Uint16(query[len(query)-2:]) != 0 {
		return query
	}
	plain := append([]byte(nil), query[:at]...)
	binary.BigEndian.PutUint16(plain[additionals:], 0)
	return plain
}
