package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// An address that a client has left is nobody else's to ask for, also after a restart, and what
// comes for it meanwhile reaches nobody but that client.
func TestForeignAddress(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	victim := h.join(transport.Connect{})
	victim.leave()
	h.logged("disconnected", 1)
	thief := h.token(auth.Spec{Name: "thief"})
	other := h.joinWith(thief, transport.Connect{Address: victim.own()})
	if other.own() == victim.own() {
		t.Fatal("another token's client has the address")
	}
	if m := h.join(transport.Connect{Address: victim.own()}); m.own() == victim.own() {
		t.Fatal("another client with the same token has the address")
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", victim.own(), 1),
		tuntest.Packet("10.1.1.1", other.own(), 2))
	if id := tuntest.IDOf(other.gets(1)[0]); id != 2 {
		t.Errorf("the other got packet %d", id)
	}
	again := h.join(transport.Connect{Session: victim.link.Session})
	if id := tuntest.IDOf(again.gets(1)[0]); again.own() != victim.own() || id != 1 {
		t.Errorf("%s came back as %s and got packet %d", victim.own(), again.own(), id)
	}
	h.Close()
	h = serveFile(t, h.File, "10.1.1.0/24", nil)
	if m := h.joinWith(thief, transport.Connect{Session: "another",
		Address: victim.own()}); m.own() == victim.own() {
		t.Error("after a restart another has the address")
	}
	if m := h.join(transport.Connect{Session: victim.link.Session}); m.own() != victim.own() {
		t.Errorf("after a restart %s came back as %s", victim.own(), m.own())
	}
}

// A pair of a full pool changes hands after a rest, when the kernel's connections with its old
// owner have ended; what they have sent before, whenever it is read, reaches nobody.
func TestInherit(t *testing.T) {
	for name, test := range map[string]struct {
		fails error
		rest  time.Duration
	}{"ended": {nil, lease.Rest}, "not ended": {errors.New("operation not supported"),
		lease.LongRest}} {
		t.Run(name, func(t *testing.T) {
			var h *hub
			var severed []string
			var ahead atomic.Int64 // nanoseconds
			h = serve(t, "10.1.1.0/29", func(c *server.Config) {
				c.Clock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
				c.Sever = func(_ context.Context, all ...netip.Prefix) error {
					a := all[0].Addr()
					severed = append(severed, a.String())
					h.Device.Sends(t, tuntest.Packet("10.1.1.1", a.String(), 2))
					return test.fails
				}
			})
			old := h.join(transport.Connect{})
			h.join(transport.Connect{})
			old.leave()
			h.logged("disconnected", 1)
			h.Device.Sends(t, tuntest.Packet("10.1.1.1", old.own(), 1))
			newcomer := h.token(auth.Spec{Name: "newcomer"})
			refused := func(says string) {
				t.Helper()
				err := h.refuses(newcomer, transport.Connect{})
				if !isCode(err, transport.CodeNoAddress) || !strings.Contains(err.Error(), says) {
					t.Errorf("%v; want %q", err, says)
				}
			}
			refused("the next one in 3m0s")
			h.Pass(lease.Rest)
			refused("the next one in 2m10s") // somebody still sends to it
			ahead.Store(int64(lease.Rest))
			if test.rest > lease.Rest {
				refused("the next one in 13m0s")
				h.Pass(test.rest - lease.Rest)
			}
			severed = nil
			m := h.joinWith(newcomer, transport.Connect{})
			if m.own() != old.own() || len(severed) == 0 ||
				slices.Compact(severed)[0] != old.own() {
				t.Errorf("got %s; severed %v", m.own(), severed)
			}
			h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 3))
			if id := tuntest.IDOf(m.gets(1)[0]); id != 3 {
				t.Errorf("got packet %d, which was the old owner's", id)
			}
			if n := strings.Count(string(h.Log.Text()),
				"cannot be ended"); (n == 1) != (test.fails != nil) || n > 1 {
				t.Errorf("the log says %d times that it failed", n)
			}
			if m := h.refuses(token, transport.Connect{Session: old.link.Session}); !isCode(m,
				transport.CodeNoAddress) {
				t.Errorf("the old owner: %v", m)
			}
		})
	}
}

// A disk that does not answer holds up those who need it, and nobody else: not those who come back,
// leave or send.
func TestStuckDisk(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxLanes = 2 })
	join := h.token(auth.Spec{Name: "phone", Once: true})
	one, two := h.join(transport.Connect{Lanes: 2}), h.join(transport.Connect{})
	h.Disk.Lock()
	var group sync.WaitGroup
	unlock := sync.OnceFunc(h.Disk.Unlock)
	defer group.Wait()
	defer unlock()
	var mu sync.Mutex
	came := map[string]bool{}
	for i := range 20 {
		group.Go(func() {
			secret := token
			if i == 0 {
				secret = join
			}
			m, err := h.dialWith(secret, transport.Connect{})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if came[m.own()] {
				t.Errorf("%s twice", m.own())
			}
			came[m.own()] = true
			m.leave()
		})
	}
	for until := time.Now().Add(patience); h.Disk.Waiting.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nobody writes")
		}
	}
	two.leave()
	h.logged("disconnected", 1)
	two = h.join(transport.Connect{Session: two.link.Session})
	h.lane(one, 1).sends(tuntest.Packet(one.own(), "10.1.1.1", 1))
	h.Device.Gets(t)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", two.own(), 2))
	two.gets(1)
	if _, err := h.Server.ListTokens(); err != nil {
		t.Error(err)
	}
	if n := h.Disk.Waiting.Load(); n > 3 {
		t.Errorf("%d writes wait for the disk: they do not share one", n)
	}
	mu.Lock()
	if len(came) > 0 {
		t.Errorf("%d were let in before their lease was written", len(came))
	}
	mu.Unlock()
	unlock()
	group.Wait()
	if len(came) != 20 {
		t.Errorf("%d of 20 came", len(came))
	}
}

// Of many that resume one session, each with another wish, the last one has the session and an
// address that leads to it.
func TestResumeTogetherElsewhere(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	const together = 8
	members := make([]*member, together)
	var group sync.WaitGroup
	for i := range together {
		group.Go(func() {
			m, err := h.dial(transport.Connect{Session: "one-session-for-all",
				Address: fmt.Sprintf("10.1.1.%d", 101+2*i)})
			if early := (*transport.CloseError)(nil); errors.As(err, &early) &&
				early.Code == transport.CodeReplaced {
				return // before it has read its address
			}
			if err != nil {
				t.Error(err)
				return
			}
			members[i] = m
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	all, err := h.Server.ListTokens()
	if err != nil || len(all[0].Sessions) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	address := all[0].Sessions[0].Address.String()
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", address, 1))
	for _, m := range members {
		if m == nil {
			continue
		}
		if m.own() == address {
			m.gets(1)
			m.sends(tuntest.Packet(address, "10.1.1.1", 2))
			h.Device.Gets(t)
		} else if _, closed := m.told(); closed.Code != transport.CodeReplaced {
			t.Errorf("%s was told %+v", m.own(), closed)
		}
	}
}
