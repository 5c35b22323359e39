package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"tunnel/admin/status"
)

// tokenFamilies returns the metrics of a server's clients, by token.
func tokenFamilies() []family[status.Hub] {
	return []family[status.Hub]{
		ofToken("tunnel_token_sessions", "Clients of the token that are connected.",
			prometheus.GaugeValue, func(u status.Usage) float64 { return float64(u.Sessions) }),
		ofToken("tunnel_token_begun_sessions_total", "Sessions of the token that have begun.",
			prometheus.CounterValue, func(u status.Usage) float64 { return float64(u.Begun) }),
		ofToken("tunnel_token_sent_bytes_total", "As tunnel_hub_sent_bytes_total, to the token's "+
			"clients.", prometheus.CounterValue,
			func(u status.Usage) float64 { return float64(u.Sent) }),
		ofToken("tunnel_token_received_bytes_total", "As tunnel_hub_received_bytes_total, from the "+
			"token's clients.", prometheus.CounterValue,
			func(u status.Usage) float64 { return float64(u.Received) }),
		ofToken("tunnel_token_sent_segments_total", "As tunnel_hub_sent_segments_total, to the "+
			"token's clients.", prometheus.CounterValue,
			func(u status.Usage) float64 { return float64(u.Segments) }),
		ofToken("tunnel_token_resent_segments_total", "As tunnel_hub_resent_segments_total, to the "+
			"token's clients.", prometheus.CounterValue,
			func(u status.Usage) float64 { return float64(u.Resent) }),
		{name: "tunnel_token_dropped_packets_total", help: "Packets to the token's clients that " +
			"their queues dropped.", kind: prometheus.CounterValue,
			labels: []string{"token", "reason"}, values: func(h status.Hub, emit emitter) {
				for _, u := range h.Tokens {
					for reason, n := range u.Drops {
						emit(float64(n), u.Name, reason)
					}
				}
			}},
		ofClients("tunnel_token_queued_bytes", "Buffers of packets that wait to be sent to the "+
			"token's clients.", func(sum float64, p status.Peer) float64 {
			return sum + float64(p.Queued)
		}),
		ofClients("tunnel_token_unsent_bytes", "Bytes to the token's clients that wait in the kernel.",
			func(sum float64, p status.Peer) float64 {
				for _, c := range p.Connections {
					sum += float64(c.Unsent)
				}
				return sum
			}),
		ofClients("tunnel_token_round_trip_seconds", "Smoothed round trip, the longest of the "+
			"token's connections.", func(most float64, p status.Peer) float64 {
			for _, c := range p.Connections {
				most = max(most, seconds(c.RTT))
			}
			return most
		}),
		ofClients("tunnel_token_min_round_trip_seconds", "Least round trip of the last minutes, "+
			"the longest of the token's connections.", func(most float64, p status.Peer) float64 {
			for _, c := range p.Connections {
				most = max(most, seconds(c.MinRTT))
			}
			return most
		}),
		ofClients("tunnel_token_last_seen_time_seconds", "When bytes last came from a client of the "+
			"token, in seconds since 1970.", func(last float64, p status.Peer) float64 {
			return max(last, unixTime(p.Seen))
		}),
	}
}

// ofToken returns a family with a value of each token.
func ofToken(name, help string, kind prometheus.ValueType,
	value func(status.Usage) float64) family[status.Hub] {
	return family[status.Hub]{name: name, help: help, kind: kind, labels: []string{"token"},
		values: func(h status.Hub, emit emitter) {
			for _, u := range h.Tokens {
				emit(value(u), u.Name)
			}
		}}
}

// ofClients returns a family with a value of each token that has clients now, which fold makes of
// the value so far, from 0 on, and a client.
func ofClients(name, help string, fold func(float64, status.Peer) float64) family[status.Hub] {
	return family[status.Hub]{name: name, help: help, kind: prometheus.GaugeValue,
		labels: []string{"token"}, values: func(h status.Hub, emit emitter) {
			values := map[string]float64{}
			for _, p := range h.Peers {
				values[p.Name] = fold(values[p.Name], p)
			}
			for token, value := range values {
				emit(value, token)
			}
		}}
}
