package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"tunnel/admin/status"
)

// A family is a metric, and how its values are found in a snapshot. One of values and histogram is
// set.
type family[S any] struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	values     func(now S, emit emitter)
	histogram  func(now S) status.Histogram
}

// An emitter takes a value with the values of its labels.
type emitter func(value float64, labels ...string)

// gauge returns a family without labels.
func gauge[S any](name, help string, value func(S) float64) family[S] {
	return one(name, help, prometheus.GaugeValue, value)
}

// counter returns a family without labels.
func counter[S any](name, help string, value func(S) uint64) family[S] {
	return one(name, help, prometheus.CounterValue,
		func(now S) float64 { return float64(value(now)) })
}

func one[S any](name, help string, kind prometheus.ValueType, value func(S) float64) family[S] {
	return family[S]{name: name, help: help, kind: kind,
		values: func(now S, emit emitter) { emit(value(now)) }}
}

// byReason returns the family of a count for each reason.
func byReason[S any](name, help string, counts func(S) map[string]uint64) family[S] {
	return family[S]{name: name, help: help, kind: prometheus.CounterValue,
		labels: []string{"reason"}, values: func(now S, emit emitter) {
			for reason, n := range counts(now) {
				emit(float64(n), reason)
			}
		}}
}

// number returns 1 for true.
func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collector is a prometheus.Collector that takes a snapshot for each scrape.
type collector[S any] struct {
	ask      func() S
	families []family[S]
	descs    []*prometheus.Desc // of families
}

func newCollector[S any](ask func() S, families []family[S]) *collector[S] {
	c := &collector[S]{ask: ask, families: families}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector[S]) Collect(to chan<- prometheus.Metric) {
	now := c.ask()
	for i, f := range c.families {
		desc := c.descs[i]
		if f.histogram != nil {
			to <- constHistogram(desc, f.histogram(now))
			continue
		}
		f.values(now, func(value float64, labels ...string) {
			m, err := prometheus.NewConstMetric(desc, f.kind, value, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(desc, err)
			}
			to <- m
		})
	}
}

// constHistogram returns h for Prometheus, which counts in each bucket those before it, too.
func constHistogram(desc *prometheus.Desc, h status.Histogram) prometheus.Metric {
	buckets, sum := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, n := range h.Counts {
		sum += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = sum
		}
	}
	m, err := prometheus.NewConstHistogram(desc, sum, h.Sum, buckets)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}
