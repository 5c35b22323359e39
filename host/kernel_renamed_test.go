package host_test

import (
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/sysctl"
)

// rename gives an interface another name, as every kernel allows while it is down.
func rename(t *testing.T, from, to string) {
	t.Helper()
	iptest.IP(t, "link set "+from+" down")
	iptest.IP(t, "link set "+from+" name "+to)
	iptest.IP(t, "link set "+to+" up")
}

// another makes an interface that is up, with a name that one had which has another name now.
func another(t *testing.T, dev string) {
	t.Helper()
	iptest.IP(t, "link add "+dev+" type veth peer name another0")
	iptest.IP(t, "link set "+dev+" up")
}

// guarded returns the interfaces of which the tunnel's table guards the forwarding.
func guarded(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(nft(t, "list", "ruleset")) {
		if _, rest, ok := strings.Cut(line, `iif "`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			names = append(names, name)
		}
	}
	return names
}

// TestKernelRenamed has an interface renamed on which forwarding was switched on: the rule that
// bounds it follows, and it is switched off in the end.
func TestKernelRenamed(t *testing.T) {
	renamed := forwarding()
	renamed.Sysctls[1].Dev = "lan.9"
	without := forwarding()
	without.Sysctls = []sysctl.Setting{without.Sysctls[0], without.Sysctls[2]}
	for name, next := range map[string][]host.Want{
		"at once": nil, "as before": {forwarding()}, "by its new name": {renamed},
		"both": {forwarding(), renamed, forwarding()}, "without it": {without},
	} {
		t.Run(name, func(t *testing.T) {
			before, dir := gateway(t), t.TempDir()
			r, recorder := newRouter(t, dir)
			if err := r.Apply(t.Context(), forwarding()); err != nil {
				t.Fatal(err)
			}
			rename(t, "lan.7", "lan.9")
			for i, w := range next {
				recorder.Reset()
				err := r.Apply(t.Context(), w)
				on := get(t, "ipv4/conf/lan.9/forwarding") == "1"
				ran := changes(recorder)
				if err != nil || on != (name != "without it") {
					t.Errorf("%d: %v, forwards: %v, ran\n%s", i, err, on, ran)
				}
				if names := guarded(t); on != (strings.Join(names, " ") == "lan.9") {
					t.Errorf("%d: guarded are %v", i, names)
				}
				if on && strings.Contains(ran, "sysctl") {
					t.Errorf("%d: ran\n%s", i, ran)
				}
			}
			err := r.Close()
			rename(t, "lan.9", "lan.7")
			if after := whole(t); err != nil || after != before {
				t.Errorf("%v, left\n%s\nof\n%s", err, after, before)
			}
			empty(t, dir)
		})
	}
}

// TestKernelReplaced has another interface get the name of one on which forwarding was switched on:
// what is wanted goes on by the new one, and neither forwards in the end.
func TestKernelReplaced(t *testing.T) {
	for _, applied := range []bool{true, false} {
		gateway(t)
		r, _ := newRouter(t, t.TempDir())
		if err := r.Apply(t.Context(), forwarding()); err != nil {
			t.Fatal(err)
		}
		rename(t, "lan.7", "lan.9")
		another(t, "lan.7")
		states := func() string {
			return get(t, "ipv4/conf/lan.7/forwarding") + get(t, "ipv4/conf/lan.9/forwarding")
		}
		if applied {
			err := r.Apply(t.Context(), forwarding())
			if names := strings.Join(guarded(t), " "); err != nil || states() != "10" ||
				names != "lan.7" {
				t.Errorf("%v, forwarding: %s, guarded: %s", err, states(), names)
			}
		}
		if err := r.Close(); err != nil || states() != "00" || nft(t, "list", "ruleset") != "" {
			t.Errorf("applied %v: %v, forwarding: %s", applied, err, states())
		}
	}
}

// TestKernelRenamedAfterKill has a killed run's interface renamed, and another one get its name.
func TestKernelRenamedAfterKill(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		gateway(t)
		dir := t.TempDir()
		if !killAt(t, dir, 0) || get(t, "ipv4/conf/lan.7/forwarding") != "1" {
			t.Fatal("the killed run has left nothing")
		}
		rename(t, "lan.7", "lan.9")
		if replaced {
			another(t, "lan.7")
			set(t, "ipv4/conf/lan.7/forwarding", "1") // another program's
		}
		report, err := cleanAll(t, dir)
		if err != nil || get(t, "ipv4/conf/lan.9/forwarding") != "0" {
			t.Errorf("%v, %v: it forwards", report, err)
		}
		if replaced && get(t, "ipv4/conf/lan.7/forwarding") != "1" {
			t.Error("another interface does not forward any more")
		}
		empty(t, dir)
	}
}
