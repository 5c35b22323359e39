package ipcmd

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Path is the attributes of a route besides its destination and next hop; the zero Path has none.
type Path struct {
	// the gateway is a neighbour even if no address of the interface says so
	Onlink bool       `json:"onlink,omitempty"`
	Src    netip.Addr `json:"src,omitzero"` // source address of packets whose sender chose none
	// Metrics are the kernel's RTAX_ values by their number, 0 if not set; that of unix.RTAX_LOCK is
	// a bit set.
	Metrics [unix.RTAX_MAX + 1]uint32 `json:"metrics,omitzero"`
	// name of the congestion control
	Congestion string `json:"congestion,omitempty"`
}

// metricWords returns the words of ip-route(8) for metrics, in its order, and the number of kernel
// units in each of its units.
func metricWords() []struct {
	number     int
	word, unit string
	scale      uint32
} {
	return []struct {
		number     int
		word, unit string
		scale      uint32
	}{
		{unix.RTAX_MTU, "mtu", "", 1},
		{unix.RTAX_WINDOW, "window", "", 1},
		{unix.RTAX_RTT, "rtt", "ms", 8},
		{unix.RTAX_RTTVAR, "rttvar", "ms", 4},
		{unix.RTAX_SSTHRESH, "ssthresh", "", 1},
		{unix.RTAX_CWND, "cwnd", "", 1},
		{unix.RTAX_ADVMSS, "advmss", "", 1},
		{unix.RTAX_REORDERING, "reordering", "", 1},
		{unix.RTAX_HOPLIMIT, "hoplimit", "", 1},
		{unix.RTAX_INITCWND, "initcwnd", "", 1},
		{unix.RTAX_RTO_MIN, "rto_min", "ms", 1},
		{unix.RTAX_INITRWND, "initrwnd", "", 1},
		{unix.RTAX_QUICKACK, "quickack", "", 1},
		{unix.RTAX_FASTOPEN_NO_COOKIE, "fastopen_no_cookie", "", 1},
	}
}

// Settable returns the part of p that ip-route(8) can set, as the kernel shows it afterwards: times
// are rounded to their unit, a lock needs a value, rto_min is always locked, and ECN is the only
// feature.
func (p Path) Settable() Path {
	said := Path{Onlink: p.Onlink, Src: p.Src, Congestion: p.Congestion}
	said.Metrics[unix.RTAX_FEATURES] = p.Metrics[unix.RTAX_FEATURES] & unix.RTAX_FEATURE_ECN
	for _, m := range metricWords() {
		said.Metrics[m.number] = p.Metrics[m.number] / m.scale * m.scale
		if said.Metrics[m.number] != 0 && p.locks(m.number) {
			said.Metrics[unix.RTAX_LOCK] |= 1 << m.number
		}
	}
	if said.Congestion != "" && p.locks(unix.RTAX_CC_ALGO) {
		said.Metrics[unix.RTAX_LOCK] |= 1 << unix.RTAX_CC_ALGO
	}
	if said.Metrics[unix.RTAX_RTO_MIN] != 0 {
		said.Metrics[unix.RTAX_LOCK] |= 1 << unix.RTAX_RTO_MIN
	}
	return said
}

// locks reports whether a metric is locked and ip-route(8) has a word for the lock: iproute2 has
// none for some metrics, and always locks rto_min (ip/iproute.c).
func (p Path) locks(metric int) bool {
	switch metric {
	case unix.RTAX_RTO_MIN, unix.RTAX_QUICKACK, unix.RTAX_FASTOPEN_NO_COOKIE:
		return false
	}
	return p.Metrics[unix.RTAX_LOCK]&(1<<metric) != 0
}

// words returns p as arguments of `ip route add` and `del`.
func (p Path) words() []string {
	var all []string
	if p.Onlink {
		all = append(all, "onlink")
	}
	if p.Src.IsValid() {
		all = append(all, "src", p.Src.String())
	}
	for _, m := range metricWords() {
		value := p.Metrics[m.number] / m.scale
		if value == 0 {
			continue
		}
		all = append(all, m.word)
		if p.locks(m.number) {
			all = append(all, "lock")
		}
		all = append(all, strconv.FormatUint(uint64(value), 10)+m.unit)
	}
	if p.Metrics[unix.RTAX_FEATURES]&unix.RTAX_FEATURE_ECN != 0 {
		all = append(all, "features", "ecn")
	}
	if p.Congestion != "" {
		all = append(all, "congctl")
		if p.locks(unix.RTAX_CC_ALGO) {
			all = append(all, "lock")
		}
		all = append(all, p.Congestion)
	}
	return all
}
