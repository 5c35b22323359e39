package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"tunnel/admin/status"
)

// clientFamilies returns the metrics of a client.
func clientFamilies() []family[status.Client] {
	return []family[status.Client]{
		{name: "tunnel_client_info", help: "1; the label is the TUN device.",
			kind: prometheus.GaugeValue, labels: []string{"dev"},
			values: func(c status.Client, emit emitter) { emit(1, c.Dev) }},
		gauge("tunnel_client_start_time_seconds", "When the client started, in seconds since 1970.",
			func(c status.Client) float64 { return unixTime(c.Started) }),
		gauge("tunnel_client_connected", "1 if there is a session.",
			func(c status.Client) float64 { return number(c.State == status.Connected) }),
		gauge("tunnel_client_state_time_seconds", "When the session began, or the time without one, "+
			"in seconds since 1970.",
			func(c status.Client) float64 { return unixTime(c.Since) }),
		counter("tunnel_client_lost_sessions_total", "Sessions that were lost.",
			func(c status.Client) uint64 { return c.Lost }),
		{name: "tunnel_client_lanes", help: "Connections that are up, by TLS and congestion control.",
			kind: prometheus.GaugeValue, labels: laneLabels(),
			values: func(c status.Client, emit emitter) { lanesOf(c.Connections, emit) }},
		counter("tunnel_client_sent_bytes_total", "Bytes to the server that it, or a proxy, has "+
			"acknowledged, with TLS and framing.",
			func(c status.Client) uint64 { return c.Sent }),
		counter("tunnel_client_received_bytes_total", "Bytes from the server, with TLS and framing.",
			func(c status.Client) uint64 { return c.Received }),
		counter("tunnel_client_sent_segments_total", "TCP segments to the server, with those sent again.",
			func(c status.Client) uint64 { return c.Segments }),
		counter("tunnel_client_resent_segments_total", "TCP segments to the server that were sent again.",
			func(c status.Client) uint64 { return c.Resent }),
		gauge("tunnel_client_queued_bytes", "Buffers of packets that wait to be sent.",
			func(c status.Client) float64 { return float64(c.Queued) }),
		byReason("tunnel_client_dropped_packets_total", "Packets that were dropped.",
			func(c status.Client) map[string]uint64 { return c.Drops }),
		{name: "tunnel_client_queue_delay_seconds", help: "How long packets to the server have waited, " +
			"a sample of them.",
			histogram: func(c status.Client) status.Histogram { return c.Delays }},
		ofLanes("tunnel_client_round_trip_seconds", "Smoothed round trip to the server, or to a proxy.",
			func(c status.Connection) float64 { return seconds(c.RTT) }),
		ofLanes("tunnel_client_min_round_trip_seconds", "Least round trip of the last minutes.",
			func(c status.Connection) float64 { return seconds(c.MinRTT) }),
		ofLanes("tunnel_client_delivery_rate_bytes_per_second", "At which data was last delivered.",
			func(c status.Connection) float64 { return float64(c.Rate) }),
		ofLanes("tunnel_client_unsent_bytes", "Bytes that wait in the kernel.",
			func(c status.Connection) float64 { return float64(c.Unsent) }),
		ofLanes("tunnel_client_silence_seconds", "Since bytes last came.",
			func(c status.Connection) float64 { return c.Silence }),
		gauge("tunnel_client_mtu_bytes", "Largest packet; 0 before the first session.",
			func(c status.Client) float64 { return float64(c.MTU) }),
		{name: "tunnel_client_routes", help: "Networks that the server pushes, taken and refused.",
			kind: prometheus.GaugeValue, labels: []string{"state"},
			values: func(c status.Client, emit emitter) {
				emit(float64(len(c.Routes.Taken)), "taken")
				emit(float64(len(c.Routes.Refused)), "refused")
			}},
		gauge("tunnel_client_dns_servers", "DNS servers of the server that this machine uses.",
			func(c status.Client) float64 { return float64(len(c.DNS.Servers)) }),
		gauge("tunnel_client_dns_problem", "1 if the server's DNS is to resolve all "+
			"names, and cannot be used.",
			func(c status.Client) float64 { return number(c.AcceptDNS && c.DNS.Problem != "") }),
		gauge("tunnel_client_kill_switch", "1 if nothing may leave this machine but by the tunnel.",
			func(c status.Client) float64 { return number(c.KillSwitch) }),
		gauge("tunnel_client_full_tunnel", "1 if all traffic of this machine goes through the tunnel.",
			func(c status.Client) float64 { return number(c.FullTunnel) }),
		gauge("tunnel_client_proxied", "1 if the connection goes through a proxy.",
			func(c status.Client) float64 { return number(c.Path != nil && c.Path.Proxy != "") }),
	}
}

// ofLanes returns a family with a value of each connection that is up.
func ofLanes(name, help string, value func(status.Connection) float64) family[status.Client] {
	return family[status.Client]{name: name, help: help, kind: prometheus.GaugeValue,
		labels: []string{"lane"}, values: func(now status.Client, emit emitter) {
			for _, c := range now.Connections {
				emit(value(c), strconv.Itoa(c.Lane))
			}
		}}
}
