package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// testVolume has a hub that may do nothing but change the network start with a volume of one that
// split into two processes, which belongs to the user nobody: it is refused, and after each of the
// remedies of docs/OPERATIONS.md the hub is the same as before. Its state is elsewhere than by
// default, and its health is found.
func (e *engine) testVolume(t *testing.T) {
	const volume = "old:/data"
	hub := func(caps ...string) []string {
		return append(append([]string{"docker", "run", "--name", "hub", "--cap-add", "NET_ADMIN",
			"--device", "/dev/net/tun", "--tmpfs", "/run/tunnel", "--volume", volume, "--env",
			"TUNNEL_STATE=/data", "--env", "TUNNEL_TOKEN=" + token, "--health-interval", "1s",
			"--health-retries", "2"}, caps...), "tunnel", "serve", "--public", "hub")
	}
	runs := func(caps ...string) (pin string) {
		e.must(hub(append(caps, "--detach")...)...)
		e.waitLog(t, "hub", "listening on ")
		pin = e.pin(t, "hub")
		e.becomes(t, "hub", "healthy")
		e.stop(t, "hub")
		e.must("docker", "rm", "hub")
		return pin
	}
	for what, give := range map[string]func(){
		"chown": func() {
			e.must("docker", "run", "--rm", "-v", "old:/s", baseImage, "chown", "-R", "0:0", "/s")
		},
		"the capability": func() { runs("--cap-drop", "ALL", "--cap-add", "CHOWN") },
	} {
		pin := runs()
		out, err := e.run(hub("--rm", "--cap-drop", "ALL")...)
		if err == nil || !strings.Contains(err.Error(), "exit status 13") || !strings.Contains(
			err.Error(), "tunnel: state: give /data to the user root: ") {
			t.Errorf("a directory of nobody: %v\n%s", err, out)
		}
		give()
		if got := runs("--cap-drop", "ALL"); got != pin {
			t.Errorf("after %s the pin is %s, it was %s", what, got, pin)
		}
		e.must("docker", "volume", "rm", "old")
	}
}

// checkModes has what `tar -tv` lists of an image be no program but these and the shared libraries,
// and nothing run as another user or be written by all but what has to be.
func checkModes(t *testing.T, image, list string) {
	t.Helper()
	library := regexp.MustCompile(`^(usr/)?lib(32|64|x32)?/([^/]+/)?[^/]+\.so(\.[0-9]+)*$`)
	programs := 0
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		mode, name := f[0], strings.TrimSuffix(f[5], "/")
		switch {
		case strings.ContainsAny(mode[:9], "sS"), mode[8] == 'w' && mode[0] != 'l' &&
			name != "tmp" && (name != "run/tunnel" || image != "nonroot"):
			t.Errorf("%s has %s", image, line)
		case mode[0] != '-' || !strings.Contains(mode, "x") || library.MatchString(name) ||
			f[2] == "0": // empty, as those that the engine adds
		case name == "usr/local/bin/tunnel", name == "usr/sbin/ip", name == "usr/sbin/nft":
			programs++
		default:
			t.Errorf("%s has a program that it does not need: %s", image, line)
		}
	}
	if programs != 3 {
		t.Errorf("%s has %d of its 3 programs:\n%s", image, programs, list)
	}
}
