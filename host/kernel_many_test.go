package host_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
)

// many is a client's Want with n networks behind the server.
func many(n int) host.Want {
	w := pair("10.1.1.3", "10.1.1.4")
	for i := range n {
		w.Routes = append(w.Routes, host.Route{Via: addr("10.1.1.4"),
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)})
	}
	return w
}

// Many routes take one process to make and one to undo, and are shown as a command each. One that
// cannot be made is named, and the others are undone.
func TestKernelManyRoutes(t *testing.T) {
	before := behindGateway(t)
	dir := t.TempDir()
	r, recorder := newRouter(t, dir)
	want := many(200)
	if err := r.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if n := len(recorder.Commands()); n > 4 {
		t.Errorf("%d processes", n)
	}
	var shown strings.Builder
	dry := host.New(journal.Machine{Run: cmdrun.DryRun{W: &shown}}, nil, nil)
	if err := dry.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := recorder.Transcript(); got != shown.String() ||
		strings.Count(got, "\nip route add 172.16.0.") != 200 {
		t.Errorf("ran\n%sand a dry run shows\n%s", got, shown.String())
	}
	// Others take one away, and one more comes.
	recorder.Reset()
	iptest.IP(t, "route del 172.16.0.7/32 via 10.1.1.4 dev tun0")
	if err := r.Apply(t.Context(), many(201)); err != nil {
		t.Fatal(err)
	}
	wantText := "ip route add 172.16.0.7/32 via 10.1.1.4 dev tun0\n" +
		"ip route add 172.16.0.200/32 via 10.1.1.4 dev tun0\n"
	if got := recorder.Transcript(); got != wantText {
		t.Errorf("ran\n%swant\n%s", got, wantText)
	}
	recorder.Reset()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(recorder.Commands()); n > 3 {
		t.Errorf("%d processes to undo", n)
	}
	if now := state(t); now != before {
		t.Errorf("left behind\n%swas\n%s", now, before)
	}

	// The kernel refuses one in the middle: a route of another program without a metric is there.
	r, _ = newRouter(t, dir)
	iptest.IP(t, "route add 172.16.0.9/32 dev ens160")
	err := r.Apply(t.Context(), want)
	if err == nil || !strings.Contains(err.Error(), "ip route add 172.16.0.9/32 ") {
		t.Errorf("a refused route: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	iptest.IP(t, "route del 172.16.0.9/32 dev ens160")
	if now := state(t); now != before {
		t.Errorf("left behind\n%swas\n%s", now, before)
	}
}

// A journal of many routes is healed, but for those that have gone.
func TestKernelManyHealed(t *testing.T) {
	before := behindGateway(t)
	dir := t.TempDir()
	r, _ := newRouter(t, dir)
	if err := r.Apply(t.Context(), many(200)); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(dir + "/" + files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	iptest.IP(t, "route del 172.16.0.7/32 via 10.1.1.4 dev tun0")
	other := t.TempDir()
	if err := os.WriteFile(other+"/"+files[0].Name(), content, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(other, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	removed, err := j.Heal(t.Context(), journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}})
	if err != nil || len(removed) != 200+1 || // with the address and the first route, without one
		slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, "172.16.0.7/") }) {
		t.Errorf("%d removed: %v, %v", len(removed), removed, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if now := state(t); now != before {
		t.Errorf("left behind\n%swas\n%s", now, before)
	}
}
