package config

import (
	"tunnel/config/location"
	"tunnel/config/setting"
)

// metricsSetting is that of Common.Metrics.
func (m *Common) metricsSetting() *setting.Setting {
	return &setting.Setting{Name: "metrics", Trusted: true, Category: setting.Machine,
		Value: setting.String(&m.Metrics),
		Usage: "answer Prometheus at `ADDRESS`, [HOST]:PORT or unix:PATH: /metrics, /healthz and " +
			"/readyz",
		More: "HOST is an address of this machine, or `localhost`. Everyone who reaches it reads " +
			"the names of tokens and how much their clients send: use `localhost`, or a socket, " +
			"which its user and group may use"}
}

// checkMetrics notes all problems in Metrics.
func (m *Common) checkMetrics(c *setting.Checker) {
	if m.Metrics == "" {
		return
	}
	if _, _, err := location.ListenAt(m.Metrics); err != nil {
		c.Wrong("metrics", "%v", err)
	}
}
