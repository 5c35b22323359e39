package privsep_test

import (
	"strings"
	"testing"
)

// TestNames has a worker ask for DNS servers: the parent checks them as facts of a journal, and
// sets what may be set.
func TestNames(t *testing.T) {
	names := func(text string) string {
		return strings.TrimSuffix(good, "}}") + `,"names":` + text + "}}"
	}
	const refused = "not DNS settings"
	for name, test := range map[string]struct{ names, why string }{
		"good":              {`{"servers":["10.1.1.1"],"domains":["corp.example"],"all":true}`, ""},
		"this machine":      {`{"servers":["127.0.0.1"],"all":true}`, refused},
		"an option":         {`{"servers":["10.1.1.1"],"domains":["--help"],"all":true}`, refused},
		"lines":             {`{"servers":["10.1.1.1"],"domains":["a\nb"],"all":true}`, refused},
		"everybody's names": {`{"servers":["10.1.1.1"],"domains":["com"]}`, "not accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			code, answers, err := run(t, h, "sends", device, names(test.names))
			if code != workerCode || err != nil || !strings.Contains(answers, test.why) ||
				strings.Contains(answers, "error") != (test.why != "") {
				t.Errorf("%d, %v, %s", code, err, answers)
			}
			ran := h.recorder.Transcript()
			if strings.Contains(ran, "resolv") != (test.why == "") {
				t.Errorf("ran\n%s", ran)
			}
		})
	}
	code, _, err := run(t, newHost(t), "sends", device,
		names(`{"servers":["10.1.1.1"],"all":true,"text":"nameserver 192.0.2.66"}`))
	if code == workerCode || err == nil || !strings.Contains(err.Error(), "killed for what it asked") {
		t.Errorf("a text: %d, %v", code, err)
	}
}
