package netwatch_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/netwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching moves the test into a network namespace of its own and returns what its Watcher tells.
func watching(t *testing.T, prepare ...string) <-chan netwatch.Event {
	t.Helper()
	events, _ := watchingWith(t, prepare...)
	return events
}

// watchingWith is watching that returns the Watcher, too.
func watchingWith(t *testing.T, prepare ...string) (<-chan netwatch.Event, *netwatch.Watcher) {
	t.Helper()
	iptest.Namespace(t)
	for _, args := range prepare {
		iptest.IP(t, args)
	}
	w, err := netwatch.Open()
	if err != nil {
		t.Fatal(err)
	}
	events, ended := make(chan netwatch.Event, 1000), make(chan error, 1)
	go func() {
		for {
			e, err := w.Next()
			if err != nil {
				ended <- err
				return
			}
			events <- e
		}
	}()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Next ends with %v", err)
		}
	})
	return events, w
}

// heard returns what is told until all is quiet.
func heard(events <-chan netwatch.Event) map[netwatch.Event]bool {
	all := map[netwatch.Event]bool{}
	for {
		select {
		case e := <-events:
			all[e] = true
		case <-time.After(300 * time.Millisecond):
			return all
		}
	}
}

// What may change a packet's way is told, of the interface and family that it is about.
func TestChanges(t *testing.T) {
	const index = 77
	link := []string{"link add ens160 index 77 type veth peer name other", "link set other up",
		"link set ens160 up addrgenmode none",
		"addr add 192.168.107.5/24 dev ens160"}
	for _, test := range []struct {
		change string
		want   netwatch.Event
	}{
		{"route add default via 192.168.107.2", netwatch.Event{
			Kind: netwatch.Route, Family: netwatch.IPv4, Link: index, Prefix: prefix("0.0.0.0/0"),
			Via: addr("192.168.107.2"), Table: unix.RT_TABLE_MAIN,
		}},
		{"addr add 192.168.107.6/24 dev ens160", netwatch.Event{Kind: netwatch.Address,
			Family: netwatch.IPv4, Link: index, Prefix: prefix("192.168.107.6/24")}},
		{"addr add 192.0.2.1 peer 10.1.1.50/32 dev ens160", netwatch.Event{
			Kind: netwatch.Address, Family: netwatch.IPv4, Link: index,
			Prefix: prefix("10.1.1.50/32"),
		}},
		{"route add local 192.0.2.9 dev ens160", netwatch.Event{
			Kind: netwatch.Route, Family: netwatch.IPv4, Link: index,
			Prefix: prefix("192.0.2.9/32"), Table: unix.RT_TABLE_LOCAL,
		}},
		{"route del table local local 192.168.107.5 dev ens160", netwatch.Event{
			Kind: netwatch.Route, Family: netwatch.IPv4, Link: index,
			Prefix: prefix("192.168.107.5/32"), Table: unix.RT_TABLE_LOCAL,
		}},
		{"-6 addr add 2001:db8::5/64 dev ens160 nodad", netwatch.Event{Kind: netwatch.Address,
			Family: netwatch.IPv6, Link: index, Prefix: prefix("2001:db8::5/64")}},
		{"-6 route add 2001:db8:1::/64 dev ens160", netwatch.Event{Kind: netwatch.Route,
			Family: netwatch.IPv6, Link: index, Prefix: prefix("2001:db8:1::/64"),
			Table: unix.RT_TABLE_MAIN}},
		{"nexthop add id 7 via 192.168.107.2 dev ens160", netwatch.Event{Kind: netwatch.Route}},
		{"link set ens160 down", netwatch.Event{Kind: netwatch.Link, Link: index}},
		{"link set other down", netwatch.Event{Kind: netwatch.Link, Link: index}}, // the carrier
		{"link del other", netwatch.Event{Kind: netwatch.Link, Link: index}},
		{"rule add to 192.0.2.1 lookup 100", netwatch.Event{Kind: netwatch.Route,
			Family: netwatch.IPv4}},
		{"-6 rule add to 2001:db8::1 lookup 100", netwatch.Event{Kind: netwatch.Route,
			Family: netwatch.IPv6}},
	} {
		t.Run(test.change, func(t *testing.T) {
			events := watching(t, link...)
			heard(events) // what the kernel still does by itself
			iptest.IP(t, test.change)
			if got := heard(events); !got[test.want] {
				t.Errorf("heard %+v; want %+v", got, test.want)
			}
		})
	}
}

// TestForwarding has forwarding change by itself; a new interface, which has a setting of it, too,
// is no change.
func TestForwarding(t *testing.T) {
	const index = 77
	events := watching(t, "link add ens160 index 77 type veth peer name other",
		"link set ens160 up addrgenmode none")
	heard(events)
	for _, test := range []struct {
		file, value string
		want        netwatch.Event
	}{
		{"ipv4/conf/ens160/forwarding", "1", netwatch.Event{Family: netwatch.IPv4, Link: index}},
		{"ipv4/ip_forward", "1", netwatch.Event{Family: netwatch.IPv4}},
		{"ipv4/ip_forward", "0", netwatch.Event{Family: netwatch.IPv4}},
		{"ipv6/conf/all/forwarding", "1", netwatch.Event{Family: netwatch.IPv6}},
	} {
		path := "/proc/sys/net/" + test.file
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) == test.value+"\n" { // the machine's own, which a new namespace inherits
			if err := os.WriteFile(path, []byte{test.value[0] ^ 1}, 0); err != nil {
				t.Fatal(err)
			}
			heard(events)
		}
		if err := os.WriteFile(path, []byte(test.value), 0); err != nil {
			t.Fatal(err)
		}
		test.want.Kind = netwatch.Forwarding
		if got := heard(events); !got[test.want] {
			t.Errorf("%s = %s: heard %+v; want %+v", test.file, test.value, got, test.want)
		}
	}
	iptest.IP(t, "link add new type veth peer name newer")
	for e := range heard(events) {
		if e.Kind == netwatch.Forwarding {
			t.Errorf("a new interface: heard %+v", e)
		}
	}
}

// What changes no packet's way is not told.
func TestChatter(t *testing.T) {
	events := watching(t, "link add br0 type bridge", "link add ens160 type veth peer name other",
		"link set ens160 master br0",
		// Without the addresses that IPv6 makes by itself: it is seconds until it has looked for
		// duplicates.
		"link set ens160 up addrgenmode none", "link set other up addrgenmode none",
		"link set br0 up addrgenmode none")
	// and the kernel takes its time to see that a bridge has a carrier
	for quiet := 0; quiet < 4; quiet++ {
		if len(heard(events)) > 0 {
			quiet = 0
		}
	}
	iptest.IP(t, "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev br0")
	iptest.IP(t, "route add local 192.0.2.9 dev lo table local proto kernel")
	if got := heard(events); len(got) > 0 {
		t.Errorf("heard %+v", got)
	}
}

// A change of a file is told among those of the network.
func TestFile(t *testing.T) {
	iptest.Namespace(t)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	w, err := netwatch.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"", "link set lo up"} { // without another change, and with one
		if change != "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			iptest.IP(t, change)
		}
		for told := false; !told; {
			e, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			told = e == netwatch.Event{Kind: netwatch.File}
		}
	}
}

// A reader who is too slow is told that.
func TestMissed(t *testing.T) {
	iptest.Namespace(t)
	w, err := netwatch.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := netwatch.Shrink(w); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		iptest.IP(t, "link set lo down")
		iptest.IP(t, "link set lo up")
	}
	for range 100 {
		e, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == (netwatch.Event{}) {
			return
		}
	}
	t.Error("nothing was missed")
}

// Whatever the bytes are, they are no reason to fail.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{32, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) { netwatch.Parse(data) })
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
