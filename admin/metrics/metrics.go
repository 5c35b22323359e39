// Package metrics shows Prometheus what a running client or server tells of itself. A scrape takes
// one snapshot of its status: packets cost nothing more. The same listener says whether the program
// lives, and whether packets can cross.
package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tunnel/admin/status"
	"tunnel/transport"
)

// Metrics are those of one program. Its methods may be called concurrently, but Hub and Client; a
// nil *Metrics records nothing.
type Metrics struct {
	registry *prometheus.Registry
	admitted prometheus.Histogram
	took     *prometheus.HistogramVec
}

// New returns the Metrics of a program of that version: so far those of the Go runtime and of the
// process.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "tunnel_build_info",
		Help:        "1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handshakeBuckets are the bounds of handshakes' times, in seconds: from one on the same machine to
// one that a limit of time ends.
func handshakeBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// Hub adds the metrics of a server whose status ask returns.
func (m *Metrics) Hub(ask func() status.Hub) {
	m.admitted = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "tunnel_hub_handshake_seconds", Buckets: handshakeBuckets(),
		Help: "From the accepted connection of a session to its admission."})
	m.registry.MustRegister(m.admitted, newCollector(ask, hubFamilies()))
}

// Client adds the metrics of a client whose status ask returns.
func (m *Metrics) Client(ask func() status.Client) {
	m.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tunnel_client_handshake_seconds", Buckets: handshakeBuckets(),
		Help: "Steps of the connection of a session, those of a session that began."},
		[]string{"step"})
	for _, step := range steps() { // a histogram that comes later has lost its first sample
		m.took.WithLabelValues(string(step))
	}
	m.registry.MustRegister(m.took, newCollector(ask, clientFamilies()))
}

// steps returns the steps that are timed.
func steps() []transport.Step {
	return []transport.Step{transport.StepName, transport.StepTCP, transport.StepProxy,
		transport.StepTLS, transport.StepHTTP, transport.StepAddress}
}

// Admitted records how long after its connection was accepted a session has begun. Hub is called
// before.
func (m *Metrics) Admitted(after time.Duration) {
	if m != nil {
		m.admitted.Observe(after.Seconds())
	}
}

// Took records how long the steps of a session's connection have taken. Client is called before.
func (m *Metrics) Took(steps map[transport.Step]time.Duration) {
	if m == nil {
		return
	}
	for step, took := range steps {
		m.took.WithLabelValues(string(step)).Observe(took.Seconds())
	}
}
