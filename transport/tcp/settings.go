package tcp

import "time"

// Settings are what follows from the Samples of a path.
type Settings struct {
	// the congestion control: bbr, or "" for the system's own; only with CongestionAuto
	Control string `json:"control"`
	Message int    `json:"message"` // bytes of packets that go into one message
	Record  int    `json:"record"`  // bytes of it that go into one TLS record
	// bytes that the kernel may hold unsent (TCP_NOTSENT_LOWAT)
	Unsent int `json:"unsent"`
	// CoDel's: the standing delay that is accepted
	Target   time.Duration `json:"target"`
	Interval time.Duration `json:"interval"` // CoDel's: for how long it may be exceeded
	Coalesce bool          `json:"coalesce"` // what comes in waits a little for more
	// bytes a second that BBR may send at most; 0 is no bound
	Pace    uint32 `json:"pace,omitempty"`
	Restart bool   `json:"restart,omitempty"` // BBR is to begin anew, now
	// bytes that the send buffer should have; 0 leaves it to the kernel
	Send    int `json:"send,omitempty"`
	Receive int `json:"receive,omitempty"` // the same of the receive buffer
}

const (
	bbr = "bbr"

	// lookEvery is how often a path is looked at, and startupEvery while BBR is in its STARTUP.
	lookEvery    = 250 * time.Millisecond
	startupEvery = 20 * time.Millisecond

	// longPath tells a local network from a longer path.
	longPath = 2 * time.Millisecond
	// manyLost is how many segments a path loses within a round trip for nearly everything to wait,
	// at its end, for one that has to be sent again.
	manyLost = 0.5
)

// memory is what the rules know of the samples so far.
type memory struct {
	Settings
	began   bool
	looked  time.Duration // when all rules were applied
	rtt     time.Duration // the least of the last minutes; 0 is not known
	rate    uint64        // bytes a second, the most of late
	sent    uint32        // segments so far, when the path was last looked at
	resent  uint32        // of these, sent again
	lossy   bool          // manyLost
	startup startup
	rates   rates
}

// start returns what there is to know before the first sample.
func start() memory {
	return memory{Settings: Settings{
		Message: minMessage, Record: maxRecord, Unsent: maxUnsent, Target: minTarget,
		Interval: minInterval,
	}}
}

// due reports whether the rules want a sample at that time.
func (m *memory) due(at time.Duration, control string) bool {
	return !m.began || at-m.looked >= lookEvery || control == bbr && !m.startup.over &&
		at-m.startup.looked >= startupEvery
}

// decide returns the settings that follow from one more sample, and what is known then. It reads no
// clock and asks nobody: the same samples lead to the same settings, which testdata records.
func decide(m memory, s Sample) (memory, Settings) {
	m.Restart = false
	if s.Control == bbr {
		m.Pace = m.startup.pace(s, m.Pace)
	}
	if m.began && s.At-m.looked < lookEvery {
		return m, m.Settings
	}
	m.began, m.looked = true, s.At
	// it is lower for a moment whenever something is sent again
	if m.rate = max(s.Rate, m.rate/8*7); m.rate > 0 {
		m.Message = messageSize(m.rate)
		if s.NotSent >= backlog { // else that is not all that the path can do
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

// losses returns how many segments were lost of late in each round trip.
func (m *memory) losses(s Sample) float64 {
	lost, sent := s.Resent-m.resent, s.Segments-m.sent
	m.resent, m.sent = s.Resent, s.Segments
	if sent == 0 || s.MSS == 0 {
		return 0
	}
	window := float64(s.Rate) * m.rtt.Seconds() / float64(s.MSS)
	return window * float64(lost) / float64(sent)
}
