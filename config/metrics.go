package config

import (
	"fmt"
	"path/filepath"
	"strings"

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
	if _, _, err := MetricsAddress(m.Metrics); err != nil {
		c.Wrong("metrics", "%v", err)
	}
}

// MetricsAddress returns where Common.Metrics says to listen: "unix" and a path, or "tcp" and a
// numeric address, as ListenAddress. The error continues the setting's name.
func MetricsAddress(text string) (network, address string, err error) {
	path, ok := strings.CutPrefix(text, "unix:")
	if !ok {
		if !strings.Contains(text, ":") {
			return "", "", fmt.Errorf(" %s is neither [HOST]:PORT nor unix:PATH", text)
		}
		address, err = ListenAddress(text)
		return "tcp", address, err
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return "", "", fmt.Errorf(" %s: give the whole path of the socket, unix:/PATH", text)
	}
	return "unix", filepath.Clean(path), nil
}
