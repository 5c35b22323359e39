package doctor

import (
	"errors"
	"strings"
	"testing"

	"tunnel/doctor"
	"tunnel/transport"
)

func TestPage(t *testing.T) {
	r := doctor.Report{
		Machine: []doctor.Finding{{Check: "device", Verdict: doctor.OK, Saw: "made"},
			{Check: "state", Verdict: doctor.Fail, Problem: doctor.NotWritable, Saw: "no"}},
		Paths: []doctor.Path{{Server: "wss://h", Checks: []doctor.Finding{{Check: "upgrade",
			Verdict: doctor.Warn, Saw: "a\x1b[2Jb\nc", Advice: "do this; or",
			Err: &transport.StepError{Step: transport.StepProxy, Err: errors.New("no"),
				Reason: transport.ReasonProxy}}}}},
	}
	advise(&r)
	r.Judge()
	var text strings.Builder
	if err := (&page{&text, false}).print(r); err != nil {
		t.Fatal(err)
	}
	const want = "this machine\n" +
		"  ok    device          made\n" +
		"  FAIL  state           no\n" +
		"                        → run it with sudo, or give a directory that you may write to with " +
		"--state DIR\n\n" +
		"wss://h\n" +
		`  warn  upgrade         a\x1b[2Jb\nc` + "\n" +
		"                        → do this; or check --proxy or HTTPS_PROXY, or go without by --proxy " +
		"none\n\n" +
		"1 ok, 1 to look at, 1 failed\n"
	if text.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", &text, want)
	}
	text.Reset()
	if err := (&page{&text, true}).print(r); err != nil {
		t.Fatal(err)
	}
	for _, color := range []string{"\x1b[32mok  \x1b[0m", "\x1b[33mwarn\x1b[0m",
		"\x1b[31mFAIL\x1b[0m"} {
		if !strings.Contains(text.String(), color) {
			t.Errorf("no %q in %q", color, text.String())
		}
	}
	if err := verdict(r); err == nil || err.Error() != "doctor: failed: state" {
		t.Errorf("ends with %v", err)
	}
	r.Machine = r.Machine[:1]
	if err := verdict(r); err != nil {
		t.Errorf("a warning ends with %v", err)
	}
}
