package status

import (
	"time"

	"tunnel/transport/tcp/tcpinfo"
)

// Connection is one TCP connection, as far as the next machine that ends TCP, such as a proxy. Its
// bytes have TLS and framing.
type Connection struct {
	Lane int `json:"lane"` // its number
	// the version of TLS as far as the next machine that ends it, such as "1.3", or "none"
	TLS      string  `json:"tls"`
	Exchange string  `json:"key_exchange"`    // its group, as crypto/tls names it, or "none"
	RTT      float64 `json:"rtt_ms"`          // smoothed; 0 if not known
	MinRTT   float64 `json:"min_rtt_ms"`      // the least of the last minutes; 0 if not known
	Segments uint32  `json:"segments"`        // sent, with those sent again; wraps around
	Resent   uint32  `json:"segments_resent"` // of these, sent again; wraps around
	// at which data was last delivered, in bytes a second; 0 if not known
	Rate       uint64  `json:"delivery_rate"`
	Unsent     uint32  `json:"unsent_bytes"`    // in the kernel
	Congestion string  `json:"congestion"`      // control, as the kernel names it
	Silence    float64 `json:"silence_seconds"` // since bytes last came
	Bytes
}

// Bytes are those that the other end has acknowledged, and those that came from it.
type Bytes struct {
	Sent     uint64 `json:"sent_bytes"`
	Received uint64 `json:"received_bytes"`
}

// Add adds more to b.
func (b *Bytes) Add(more Bytes) {
	b.Sent += more.Sent
	b.Received += more.Received
}

// Traffic is what has crossed connections, those that have ended included.
type Traffic struct {
	Bytes
	Segments uint64 `json:"segments"`        // of TCP, sent, with those sent again
	Resent   uint64 `json:"segments_resent"` // of these, sent again
}

// Add adds more to t.
func (t *Traffic) Add(more Traffic) {
	t.Bytes.Add(more.Bytes)
	t.Segments += more.Segments
	t.Resent += more.Resent
}

// Traffic returns what has crossed c.
func (c Connection) Traffic() Traffic {
	return Traffic{Bytes: c.Bytes, Segments: uint64(c.Segments), Resent: uint64(c.Resent)}
}

// Wire is a TCP connection, as *tcp.Conn is. Its methods may be called at any time.
type Wire interface {
	Info() tcpinfo.Info
	TLS() (version, exchange string)
	Silence() time.Duration
}

// TrafficOf returns what has crossed a connection, also after its end.
func TrafficOf(w Wire) Traffic {
	i := w.Info()
	return Traffic{Bytes: Bytes{Sent: i.Acked, Received: i.Received}, Segments: uint64(i.Segments),
		Resent: uint64(i.Resent)}
}

// Of returns the state of the connection of a lane.
func Of(lane int, w Wire) Connection {
	i := w.Info()
	c := Connection{
		Lane: lane, RTT: milliseconds(i.RTT), MinRTT: milliseconds(i.MinRTT),
		Segments: i.Segments, Resent: i.Resent, Rate: i.Rate, Unsent: i.Unsent,
		Congestion: i.Congestion, Silence: w.Silence().Seconds(),
		Bytes: Bytes{Sent: i.Acked, Received: i.Received},
	}
	c.TLS, c.Exchange = w.TLS()
	return c
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
