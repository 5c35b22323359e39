package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// A server runs as root with exactly the capabilities that docs/OPERATIONS.md recommends, and with
// fewer of them.
func TestRootWithFewCapabilities(t *testing.T) {
	t.Parallel()
	const split = "-all,+net_admin,+setuid,+setgid,+setpcap"
	h := lab.New(t).Host("few")
	bin := plainBuild(t)
	state := t.TempDir()
	start := func(capabilities, state string) *lab.Proc {
		argv := []string{"setpriv", "--inh-caps=-all", "--bounding-set=" + capabilities,
			string(bin), "serve", "--plain",
			"--listen", "127.0.0.1:8443", "--state", state}
		return watch(t, h.StartCommand(clean(h.Command(argv...))))
	}
	for range 2 { // the second time the worker owns the directory
		srv := start(split+",+chown", state)
		srv.WaitFor("listening on ", soon)
		stop(t, srv)
		if strings.Contains(srv.Stderr(), "no sandbox") {
			t.Error(srv.Stderr())
		}
	}
	srv := start(split, state)
	srv.WaitFor("listening on ", soon)
	stop(t, srv)

	srv = start(split, t.TempDir())
	const says = "operation not permitted: add the capability CHOWN, or have it be `chown -R "
	if code := srv.Wait(soon); code != 13 || !strings.Contains(srv.Stderr(), says) {
		t.Errorf("without CHOWN: exit code %d\n%s", code, srv.Stderr())
	}

	srv = start("-all,+net_admin,+setgid", t.TempDir())
	srv.WaitFor(
		`msg="no sandbox: all is one process" reason="root without CAP_SETUID, CAP_SETPCAP"`, soon)
	srv.WaitFor("listening on ", soon)
	stop(t, srv)
}
