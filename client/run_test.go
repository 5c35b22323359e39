package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// joined is a client that runs, on a pretended machine.
type joined struct {
	t      *testing.T
	device *tuntest.Device
	kernel *iptest.Kernel
	before string // what the kernel had
	log    *hubtest.Logs
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, set when ended is closed

	mu     sync.Mutex
	events []string // what happened, one a line: commands that change something, and Events
	more   chan struct{}
}

// Run implements cmdrun.Runner.
func (j *joined) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	j.note("%s", c)
	return j.kernel.Run(ctx, c)
}

func (j *joined) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, fmt.Sprintf(format, args...))
	select {
	case j.more <- struct{}{}:
	default:
	}
}

// happened returns what happened so far.
func (j *joined) happened() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.events...)
}

// until waits until an event that begins so has happened n times.
func (j *joined) until(prefix string, n int) {
	j.t.Helper()
	late := time.After(patience)
	for {
		count := 0
		for _, e := range j.happened() {
			if strings.HasPrefix(e, prefix) {
				count++
			}
		}
		if count >= n {
			return
		}
		select {
		case <-j.more:
		case <-late:
			j.t.Fatalf("%q has happened %d times, not %d:\n%s\n%s", prefix, count, n,
				strings.Join(j.happened(), "\n"), j.log.Text())
		}
	}
}

// logged waits until text is in the log n times.
func (j *joined) logged(text string, n int) {
	j.t.Helper()
	j.log.Until(j.t, text, n)
}

// same compares what happened, line by line; a wanted line that ends with … is a prefix. Up itself,
// which runs beside all else, has no place of its own and is left out.
func (j *joined) same(want ...string) {
	j.t.Helper()
	got := slices.DeleteFunc(j.happened(), func(e string) bool {
		return strings.HasPrefix(e,
			"up 1")
	})
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		prefix, cut := strings.CutSuffix(want[i], "…")
		ok = got[i] == want[i] || cut && strings.HasPrefix(got[i], prefix)
	}
	if !ok {
		j.t.Errorf("happened:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// start runs a client of HOST:PORT, with whatever change makes of its Config and prepare of its
// machine. It is over when the test ends.
func start(t *testing.T, address string, change func(*client.Config),
	prepare ...func(*iptest.Kernel)) *joined {
	t.Helper()
	j := &joined{
		t: t, device: tuntest.New(), kernel: iptest.New("lo", "ens160", "tun0"), log: &hubtest.Logs{},
		ended: make(chan struct{}), more: make(chan struct{}, 1),
	}
	if err := j.kernel.Do("ip route add 192.168.107.0/24 dev ens160 proto kernel"); err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(j.kernel)
	}
	j.before = j.kernel.Dump()
	notes, err := journal.Open(t.TempDir(), "tun0", host.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	config := client.Config{
		Dialer: dialer(t, address), Device: j.device,
		Host: host.New(journal.Machine{Run: j, Look: j.kernel}, notes, nil),
		Log:  slog.New(slog.NewTextHandler(j.log, nil)), Exchanges: auth.Exchanges,
		IsJoin: auth.IsJoin, Resolvers: func() ([]netip.Addr, error) { return nil, nil },
		Events: client.Events{
			Connected: func(l transport.Link) {
				j.note("connected %s %s %d %d", l.Address,
					l.Network, l.MTU, l.Qlen)
			},
			Lost: func(err error) { j.note("lost: %v", err) },
			Up: func(ctx context.Context, a host.Address) {
				j.note("up %s %s", a.Local, a.Peer)
				<-ctx.Done()
				j.note("up is over")
			},
			Down: func(a host.Address) { j.note("down %s %s", a.Local, a.Peer) },
			Routes: func(taken, refused []netip.Prefix) {
				j.note("routes %v, not %v", taken, refused)
			},
		},
	}
	if change != nil {
		change(&config)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends after t.Context
	j.cancel = cancel
	go func() {
		defer close(j.ended)
		j.err = client.New(config).Run(ctx)
	}()
	t.Cleanup(func() { _ = j.stop() })
	return j
}

// stop ends the client and returns what Run does.
func (j *joined) stop() error {
	j.t.Helper()
	j.cancel()
	return j.wait()
}

// wait returns what Run does, and checks that nothing is left.
func (j *joined) wait() error {
	j.t.Helper()
	select {
	case <-j.ended:
	case <-time.After(patience):
		j.t.Fatalf("Run does not end:\n%s", strings.Join(j.happened(), "\n"))
	}
	if left := j.kernel.Dump(); left != j.before {
		j.t.Errorf("left behind:\n%s", left)
	}
	select {
	case <-j.device.Closed():
	default:
		j.t.Error("the device is open")
	}
	return j.err
}

// The commands for the first pair of 10.1.1.0/24 that clients get, and their undoing.
const (
	linkUp   = "ip link set dev tun0 up mtu 1400 qlen 100"
	addr3    = "ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4"
	route3   = "ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0"
	unroute3 = "ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0"
	unaddr3  = "ip addr del dev tun0 local 10.1.1.3 peer 10.1.1.4"
)
