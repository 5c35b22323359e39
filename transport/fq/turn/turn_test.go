package turn

import (
	"runtime"
	"strings"
	"testing"
	"weak"
)

// Owners take turns, one that has just begun goes first, and the connections of one owner go in
// the order in which they came.
func TestTurnsAreFair(t *testing.T) {
	a := &Readers{owners: map[string]*owner{}}
	names := map[*Turn]string{}
	come := func(owner, name string) {
		c := &Turn{all: a, owner: owner, ready: make(chan struct{}, 1)}
		if c.Try() {
			t.Fatal("more have a turn than may")
		}
		names[c] = name
		a.enqueue(c)
	}
	next := func() string {
		a.pass()
		for c, name := range names {
			select {
			case <-c.ready:
				delete(names, c)
				return name
			default:
			}
		}
		return ""
	}
	for _, name := range []string{"a1", "a2", "a3", "a4"} {
		come("a", name)
	}
	come("b", "b1")
	got := []string{next(), next(), next()}
	come("b", "b2") // had its turn just now: behind a
	come("c", "c1") // has just begun
	for range 4 {
		got = append(got, next())
	}
	if want := "a1 b1 a2 c1 b2 a3 a4"; strings.Join(got, " ") != want {
		t.Errorf("turns: %s; want %s", strings.Join(got, " "), want)
	}
	if next() != "" || a.free != 1 || len(a.owners) != 0 {
		t.Errorf("when nobody waits %d turns are free, and %d owners are known; want 1, 0", a.free,
			len(a.owners))
	}
}

// A connection that has had its turn and ended is kept by no other, and not by the readers: its
// buffers can be collected, however few of the others still wait.
func TestTurnsKeepNothing(t *testing.T) {
	a := &Readers{owners: map[string]*owner{}}
	var ended []weak.Pointer[Turn]
	come := func(owner string) *Turn {
		c := &Turn{all: a, owner: owner, ready: make(chan struct{}, 1)}
		a.enqueue(c)
		return c
	}
	first := come("a") // stays
	for range 10 {
		ended = append(ended, weak.Make(come("a")))
	}
	other := come("b")
	for range 12 {
		a.pass()
	}
	runtime.GC()
	for i, c := range ended {
		if c.Value() != nil {
			t.Errorf("connection %d is kept", i)
		}
	}
	runtime.KeepAlive([]*Turn{first, other})
	runtime.KeepAlive(a)
}
