package tcp

import (
	"time"

	"tunnel/transport/fq"
)

// Settings are derived from the Samples of a path.
type Settings struct {
	// the congestion control: bbr, or "" for the system's default; used with CongestionAuto only
	Control string `json:"control"`
	Message int    `json:"message"` // bytes of packets in one message
	Record  int    `json:"record"`  // bytes of a message in one TLS record
	// bytes that the kernel may hold unsent (TCP_NOTSENT_LOWAT)
	Unsent int `json:"unsent"`
	// of CoDel: the standing delay that is accepted
	Target   time.Duration `json:"target"`
	Interval time.Duration `json:"interval"` // of CoDel: for how long Target may be exceeded
	Coalesce bool          `json:"coalesce"` // reads are coalesced
	// the maximum pacing rate of BBR, bytes a second; 0 for no bound
	Pace    uint32 `json:"pace,omitempty"`
	Restart bool   `json:"restart,omitempty"` // BBR is to be restarted now
	// the wanted size of the send buffer, bytes; 0 leaves it to the kernel
	Send    int `json:"send,omitempty"`
	Receive int `json:"receive,omitempty"` // of the receive buffer, likewise
}

const (
	bbr = "bbr"

	// lookEvery is the interval of samples. Symptom: settings that lag behind the path. Source: the
	// rules react to changes of a few round trips, and each sample costs up to four system calls.
	// Figure: none on a path that stays as it is: 73 and 83 Mbit/s up and down on the 1 % link, with
	// a second 73 and 83.
	lookEvery = 250 * time.Millisecond
	// startupEvery is the interval of samples while BBR is in STARTUP. Symptom: the bottleneck's
	// queue has overflowed before the next sample. Source: the rate may double within a round trip.
	// Figure: none with the link's 40 ms, where 250 ms instead gave 78 and 80 Mbit/s, not 74 and 76,
	// of which the rounds differ by 20: the rule is for longer round trips.
	startupEvery = 20 * time.Millisecond

	// longPath is the round trip from which a path is not a local network. Symptom: BBR, small
	// records and large buffers cost time on a local network and gain nothing. Source: there the
	// processor is the limit, and no segment is lost at random. Figure: with 50 µs here a stream
	// down had 12.3 Gbit/s on a LAN instead of 13.5, for 0.82 CPU seconds per GB instead of 0.77.
	longPath = 2 * time.Millisecond
	// manyLost is the number of lost segments per round trip from which a path counts as lossy.
	// Symptom: packets inside are delivered a round trip late. Source: TCP delivers in order, so
	// with a loss every other round trip most segments wait for a retransmission. Figure: none on
	// the 1 % link, which loses three per round trip: 78 and 82 Mbit/s with 5 here, else 76 and 83.
	manyLost = 0.5
)

// memory is the state that the rules keep between samples.
type memory struct {
	Settings
	began   bool
	looked  time.Duration // when all rules were last applied
	rtt     time.Duration // the minimum of the last minutes; 0 if not known
	rate    uint64        // bytes a second: the recent maximum
	sent    uint32        // Sample.Segments when all rules were last applied
	resent  uint32        // Sample.Resent at that time
	lossy   bool          // the path loses at least manyLost
	startup startup
	rates   rates
}

// start returns the state before the first sample.
func start() memory {
	return memory{Settings: Settings{
		Message: MinMessage, Record: maxRecord, Unsent: maxUnsent, Target: fq.MinTarget,
		Interval: fq.MinInterval,
	}}
}

// due reports whether the rules want a sample at that time.
func (m *memory) due(at time.Duration, control string) bool {
	return !m.began || at-m.looked >= lookEvery || control == bbr && !m.startup.over &&
		at-m.startup.looked >= startupEvery
}

// decide applies the rules to one more sample, and returns the new state and the settings. It reads
// no clock and makes no system call: the same samples always lead to the same settings, which
// testdata records.
func decide(m memory, s Sample) (memory, Settings) {
	m.Restart = false
	if s.Control == bbr {
		m.Pace = m.startup.pace(s, m.Pace)
	}
	if m.began && s.At-m.looked < lookEvery {
		return m, m.Settings
	}
	m.began, m.looked = true, s.At
	// the delivery rate drops for a moment whenever a segment is retransmitted
	if m.rate = max(s.Rate, m.rate/8*7); m.rate > 0 {
		m.Message = messageSize(m.rate)
		if s.NotSent >= backlog { // else the application was the limit, not the path
			m.Unsent = unsentBytes(m.rate)
		}
	}
	if s.MinRTT > 0 {
		m.rtt = s.MinRTT
	}
	m.Record = recordSize(m.rate, m.rtt)
	m.lossy = m.losses(s) >= manyLost
	grows := false
	if s.Control == bbr {
		m.Restart = m.rates.restart(s)
		if m.Restart {
			m.startup, m.Pace = startup{}, 0
		}
		grows = m.rates.grows(s.At)
	}
	m.Target, m.Interval = coDel(m.rtt, m.lossy, grows)
	m.Coalesce = m.rtt >= coalesceRTT
	m.Send, m.Receive = buffers(s, m.rtt)
	m.Control = ""
	if m.rtt >= longPath {
		m.Control = bbr
	}
	return m, m.Settings
}

// losses returns the number of segments lost per round trip since all rules were last applied.
func (m *memory) losses(s Sample) float64 {
	lost, sent := s.Resent-m.resent, s.Segments-m.sent
	m.resent, m.sent = s.Resent, s.Segments
	if sent == 0 || s.MSS == 0 {
		return 0
	}
	window := float64(s.Rate) * m.rtt.Seconds() / float64(s.MSS)
	return window * float64(lost) / float64(sent)
}
