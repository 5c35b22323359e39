package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// names returns what m exports, histograms by their series.
func names(t *testing.T, all ...*Metrics) (found []string) {
	t.Helper()
	for _, m := range all {
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			name := f.GetName()
			found = append(found, name)
			if f.GetMetric()[0].GetHistogram() != nil {
				found = append(found, name+"_bucket", name+"_sum", name+"_count")
			}
		}
	}
	return found
}

// The dashboard and the alerts ask for metrics that there are, and the alerts do what their own
// tests say, by promtool.
func TestDeployed(t *testing.T) {
	exported := names(t, hubMetrics(exampleHub(1)), clientMetrics(exampleClient()))
	const rules = "../../deploy/prometheus/"
	text := map[string]string{}
	for _, file := range []string{rules + "tunnel.rules.yaml", rules + "tunnel.rules.test.yaml",
		"../../deploy/grafana/tunnel.json", "../../docs/OPERATIONS.md"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text[file] = string(data)
		used := regexp.MustCompile(`\b(tunnel_(hub|client|token|build)|process|go)_[a-z_]*[a-z]\b`).
			FindAllString(text[file], -1)
		for _, name := range used {
			if !slices.Contains(exported, name) {
				t.Errorf("%s: nothing exports %s", file, name)
			}
		}
		if len(used) == 0 && !strings.HasSuffix(file, ".md") {
			t.Errorf("%s asks for nothing", file)
		}
	}
	if !json.Valid([]byte(text["../../deploy/grafana/tunnel.json"])) {
		t.Error("the dashboard is not JSON")
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(text[rules+
		"tunnel.rules.yaml"], -1)
	for _, a := range alerts {
		for _, file := range []string{rules + "tunnel.rules.test.yaml", "../../docs/OPERATIONS.md"} {
			if !strings.Contains(text[file], a[1]) {
				t.Errorf("%s lacks %s", file, a[1])
			}
		}
	}
	for _, command := range []string{"check rules tunnel.rules.yaml",
		"test rules tunnel.rules.test.yaml", "check config prometheus.yaml"} {
		cmd := exec.CommandContext(t.Context(), "promtool", strings.Fields(command)...)
		cmd.Dir = rules
		if out, err := cmd.CombinedOutput(); err != nil || len(alerts) < 10 {
			t.Errorf("promtool %s: %v, %d alerts\n%s", command, err, len(alerts), out)
		}
	}
}

// Two clients of one token, or a metric twice, would fail a whole scrape.
func TestConsistent(t *testing.T) {
	hub := exampleHub(2)
	hub.Peers[1].Name = hub.Peers[0].Name
	for _, m := range []*Metrics{hubMetrics(hub), clientMetrics(exampleClient()), New("")} {
		if _, err := m.registry.Gather(); err != nil {
			t.Error(err)
		}
	}
}
