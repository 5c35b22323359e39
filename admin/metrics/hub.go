package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tunnel/admin/status"
)

// lanesOf emits how many of these connections there are of each kind.
func lanesOf(all []status.Connection, emit emitter) {
	counts := map[[3]string]int{}
	for _, c := range all {
		counts[[3]string{c.TLS, c.Exchange, c.Congestion}]++
	}
	for kind, n := range counts {
		emit(float64(n), kind[:]...)
	}
}

// laneLabels are the labels of lanesOf.
func laneLabels() []string { return []string{"tls", "key_exchange", "congestion"} }

// seconds returns milliseconds as seconds.
func seconds(ms float64) float64 { return ms / 1000 }

// unixTime returns a time in seconds since 1970.
func unixTime(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// hubFamilies returns the metrics of a server. Those of its clients are by their tokens' names, of
// which there is a bounded number; no label has an address.
func hubFamilies() []family[status.Hub] {
	return append([]family[status.Hub]{
		{name: "tunnel_hub_info", help: "1; the label is the TUN device.",
			kind: prometheus.GaugeValue, labels: []string{"dev"},
			values: func(h status.Hub, emit emitter) { emit(1, h.Dev) }},
		gauge("tunnel_hub_start_time_seconds", "When the server started, in seconds since 1970.",
			func(h status.Hub) float64 { return unixTime(h.Started) }),
		gauge("tunnel_hub_sessions", "Clients that are connected.",
			func(h status.Hub) float64 { return float64(len(h.Peers)) }),
		{name: "tunnel_hub_lanes", help: "Connections of clients, by TLS and congestion control.",
			kind: prometheus.GaugeValue, labels: laneLabels(),
			values: func(h status.Hub, emit emitter) {
				var all []status.Connection
				for _, p := range h.Peers {
					all = append(all, p.Connections...)
				}
				lanesOf(all, emit)
			}},
		counter("tunnel_hub_sent_bytes_total", "Bytes to clients that these have acknowledged, "+
			"with TLS and framing.", func(h status.Hub) uint64 { return h.Sent }),
		counter("tunnel_hub_received_bytes_total", "Bytes from clients, with TLS and framing.",
			func(h status.Hub) uint64 { return h.Received }),
		counter("tunnel_hub_sent_segments_total", "TCP segments to clients, with those sent again.",
			func(h status.Hub) uint64 { return h.Segments }),
		counter("tunnel_hub_resent_segments_total", "TCP segments to clients that were sent again.",
			func(h status.Hub) uint64 { return h.Resent }),
		byReason("tunnel_hub_dropped_packets_total", "Packets that were dropped.",
			func(h status.Hub) map[string]uint64 { return h.Drops }),
		byReason("tunnel_hub_refused_connections_total", "Connections and requests that were refused.",
			func(h status.Hub) map[string]uint64 { return h.Refused }),
		{name: "tunnel_hub_limit", help: "Bounds of the server.", kind: prometheus.GaugeValue,
			labels: []string{"limit"}, values: func(h status.Hub, emit emitter) {
				for _, l := range h.Limits {
					emit(float64(l.Most), l.Name)
				}
			}},
		{name: "tunnel_hub_limit_used", help: "How much of each bound is in use.",
			kind: prometheus.GaugeValue, labels: []string{"limit"},
			values: func(h status.Hub, emit emitter) {
				for _, l := range h.Limits {
					emit(float64(l.Used), l.Name)
				}
			}},
		counter("tunnel_hub_defects_total", "Faults of the program that it survived.",
			func(h status.Hub) uint64 { return h.Defects }),
		{name: "tunnel_hub_queue_delay_seconds", help: "How long packets to clients have waited, a " +
			"sample of them.",
			histogram: func(h status.Hub) status.Histogram { return h.Delays }},
	}, tokenFamilies()...)
}
