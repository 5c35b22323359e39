package tcp

import "time"

// A Sample is the state of a socket at one moment, from TCP_INFO and BBR's TCP_CC_INFO, as far as
// the rules of the tuner need it. Rates are in bytes a second.
type Sample struct {
	At time.Duration `json:"at"` // since the connection began
	// the congestion control, as the kernel names it
	Control string `json:"control"`
	// the minimum of the last minutes; 0 if not known
	MinRTT   time.Duration `json:"min_rtt,omitempty"`
	RTT      time.Duration `json:"rtt,omitempty"`      // smoothed
	Rate     uint64        `json:"rate,omitempty"`     // tcpi_delivery_rate; 0 if not known
	Acked    uint64        `json:"acked,omitempty"`    // bytes so far
	Segments uint32        `json:"segments,omitempty"` // sent so far
	Resent   uint32        `json:"resent,omitempty"`   // of these, retransmitted
	// bytes in the send buffer that were never sent
	NotSent uint32 `json:"not_sent,omitempty"`
	MSS     uint32 `json:"mss,omitempty"`    // bytes
	Window  uint32 `json:"window,omitempty"` // the congestion window, in segments
	// bytes received within a round trip (tcpi_rcv_space)
	Received uint32 `json:"received,omitempty"`
	// bytes to which the receive window may grow (tcpi_rcv_ssthresh)
	Offered uint32 `json:"offered,omitempty"`
	// BBR's estimate of the bandwidth; 0 if it has none yet
	Bandwidth uint64 `json:"bandwidth,omitempty"`
	// BBR's pacing gain, in 1/256; 0 if not known
	Gain       uint32 `json:"gain,omitempty"`
	SendBuffer int    `json:"send_buf,omitempty"` // SO_SNDBUF, bytes; 0 if not known
	RecvBuffer int    `json:"recv_buf,omitempty"` // SO_RCVBUF
}

// unlimited is the kernel's value for a rate without a bound, and for a time that is not known.
const unlimited = 1<<32 - 1
