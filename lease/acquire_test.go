package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/state"
)

// reopen ends p as a crash does, or in good order, and opens its file again.
func reopen(t *testing.T, p *Pool, path string, end map[*Pool]func() error) *Pool {
	t.Helper()
	if err := end[p](); err != nil {
		t.Fatal(err)
	}
	return openAt(t, path, p.Network().String(), clocks[p])
}

// An address that another has left cannot be asked for until it was idle for long, before a
// restart, after one, and after a crash, of whose file nobody knows how old it is.
func TestWish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/24")
	acquire(t, p, "victim", "", "10.1.1.3")
	thief := Holder{"thief's", "s"}
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.5") // in use
	release(p, machine("victim"))
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.5")
	clocks[p].pass(DefaultHold - time.Minute)
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.5")
	acquire(t, p, "another of its token", "10.1.1.3", "10.1.1.7")
	p = reopen(t, p, path, closers)
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.5")
	acquire(t, p, "victim", "10.1.1.3", "10.1.1.3") // which the file does not hear of
	clocks[p].pass(2 * DefaultHold)
	p = reopen(t, p, path, crashes)
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.5") // it was in use a moment ago
	clocks[p].pass(DefaultHold)
	acquireAs(t, p, thief, "10.1.1.3", "10.1.1.3")
	if !leases[p][thief].Inherited {
		t.Error("nobody is told that another had the pair")
	}
	acquire(t, p, "victim", "10.1.1.3", "10.1.1.9") // 10.1.1.5 was the thief's, and rests
}

// What somebody left by moving away, or when its token ended, is not one that nobody ever had: not
// after a restart either.
func TestVacantRests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/29")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "a", "10.1.1.5", "10.1.1.5")
	release(p, machine("a"))
	for _, end := range []map[*Pool]func() error{closers, crashes, closers} {
		full(t, p, Holder{"t", "b"}, "3m0s")
		p.End(func(token string) bool { return token == "flag" })
		p = reopen(t, p, path, end)
	}
	clocks[p].pass(Rest)
	acquireAs(t, p, Holder{"t", "b"}, "", "10.1.1.3")
	if !leases[p][Holder{"t", "b"}].Inherited {
		t.Error("nobody is told that another had the pair")
	}
}

// Who is in need gets what its own token has left, then what others left; for a token that has
// several not what was left within the hour, and nothing else's once it has had as many as it may.
func TestOrder(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/28") // 6 clients: .3 to .13
	for i, token := range []string{"x", "x", "y", "y", "y", "y"} {
		acquireAs(t, p, Holder{token, fmt.Sprint(i)}, "", fmt.Sprintf("10.1.1.%d", 3+2*i))
	}
	release(p, Holder{"x", "0"})
	clocks[p].pass(time.Minute)
	release(p, Holder{"y", "3"})
	clocks[p].pass(Rest)
	acquireAs(t, p, Holder{"y", "new"}, "", "10.1.1.9") // its own, though x's is idle longer
	full(t, p, Holder{"y", "more"}, "56m0s")            // of x's hour
	acquireAs(t, p, Holder{"z", "needy"}, "", "10.1.1.3")
	release(p, Holder{"x", "1"})
	clocks[p].pass(time.Hour)
	ask := Ask{Who: Holder{"y", "more"}, Most: 4}
	if l, err := get(p, ask); !errors.Is(err, ErrFull) {
		t.Errorf("a fifth, where four may be: %v, %v", l, err)
	}
	release(p, Holder{"y", "2"})
	clocks[p].pass(Rest)
	if l, err := get(p, ask); err != nil || l.Local.String() != "10.1.1.7" {
		t.Errorf("%v, %v; want its own token's", l, err)
	}
}

// A token that comes and goes without end, each time as another, takes up no more than its part.
func TestShare(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	acquireAs(t, p, Holder{"idle", "i"}, "", "10.1.1.3")
	release(p, Holder{"idle", "i"})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		ask := Ask{Who: Holder{"greedy", fmt.Sprint(i)}, Most: 16}
		if i%2 == 0 { // another pair each time, by asking for it
			ask.Who.Machine, ask.Want = "moving", p.pair(1+random.Uint32N(126)).Local
		}
		if _, err := get(p, ask); err == nil {
			release(p, ask.Who)
		}
		clocks[p].pass(time.Second)
	}
	if n := p.count("greedy", Rest); n > 16 {
		t.Errorf("it takes up %d pairs", n)
	}
	acquireAs(t, p, Holder{"idle", "i"}, "", "10.1.1.3")
	if _, err := get(p, Ask{Who: Holder{"new", "n"}}); err != nil {
		t.Error(err)
	}
}

// An address to which somebody still sends rests until no kernel repeats a segment any more.
func TestBusy(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/29")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	release(p, machine("a"))
	release(p, machine("b"))
	ask := Ask{Who: machine("c"), Busy: func(a netip.Addr) time.Duration {
		if a.String() == "10.1.1.3" {
			return 2 * time.Minute
		}
		return 0
	}}
	clocks[p].pass(Rest)
	if l, err := get(p, ask); err != nil || l.Local.String() != "10.1.1.5" {
		t.Errorf("%v, %v; want the one that is quiet", l, err)
	}
	ask.Who = machine("d")
	if l, err := get(p, ask); err == nil || !strings.Contains(err.Error(), "2m0s") {
		t.Errorf("%v, %v; want to be told when it may be quiet", l, err)
	}
	clocks[p].pass(LongRest - Rest)
	if l, err := get(p, ask); err != nil || l.Local.String() != "10.1.1.3" {
		t.Errorf("%v, %v", l, err)
	}
}

// What is undone is as it was: the lease is its old holder's, in the file as well.
func TestUndo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/29")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	release(p, machine("a"))
	clocks[p].pass(Rest)
	for _, kept := range []bool{false, true} {
		l, err := p.Acquire(Ask{Who: machine("c"), Rest: Rest})
		if err != nil || l.Local.String() != "10.1.1.3" {
			t.Fatalf("%v, %v", l, err)
		}
		if kept {
			if err := p.Keep(l); err != nil {
				t.Fatal(err)
			}
		}
		p.Undo(l)
		acquire(t, p, "a", "", "10.1.1.3")
		release(p, machine("a"))
		clocks[p].pass(Rest)
	}
	l, err := p.Acquire(Ask{Who: machine("c"), Rest: Rest})
	if err != nil {
		t.Fatal(err)
	}
	full(t, p, machine("a"), "") // meanwhile its holder comes
	p.Undo(l)
	p = reopen(t, p, path, crashes)
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
}

// Many at once share the writes, nobody has a pair twice, and all that was acknowledged is there
// after a crash.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.0.0/20")
	const n = 200
	got := make([]netip.Addr, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			l, err := p.Acquire(Ask{Who: machine(fmt.Sprint(i)), Rest: Rest})
			if err == nil {
				err = p.Keep(l)
			}
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = l.Local
		})
	}
	group.Wait()
	p = reopen(t, p, path, crashes)
	seen := map[netip.Addr]bool{}
	for i, a := range got {
		if seen[a] {
			t.Errorf("%s twice", a)
		}
		seen[a] = true
		acquire(t, p, fmt.Sprint(i), "", a.String())
	}
}

// A full disk takes no pair from anybody: who has a lease comes back, and one who has none gets
// none.
func TestWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Now()}
	p, err := Open(file.Bucket("leases"), netip.MustParsePrefix("10.1.1.0/29"),
		Options{Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	release(p, machine("a"))
	c.pass(Rest)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := p.Acquire(Ask{Who: machine("c"), Rest: Rest})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Keep(l); err == nil {
		t.Error("kept in a file that is closed")
	}
	p.Undo(l)
	if l, err := p.Acquire(Ask{Who: machine("a"), Rest: Rest}); err != nil ||
		l.Local.String() != "10.1.1.3" {
		t.Errorf("%v, %v", l, err)
	}
}
