package fq

import "testing"

// A connection gets half of what is left at most, so that the first does not take all, and nothing
// when that is little.
func TestAllowanceIsShared(t *testing.T) {
	t.Parallel()
	a := &Allowance{limit: 32 << 20}
	for i, want := range []int{16 << 20, 8 << 20, 4 << 20, 2 << 20, 1 << 20, 0, 0} {
		if n := a.Take(20 << 20); n != want {
			t.Errorf("connection %d may take %d bytes; want %d", i, n, want)
		}
	}
	if n := a.used.Load(); n != 31<<20 {
		t.Errorf("%d bytes are taken", n)
	}
	a.Give(16 << 20)
	if n := a.Take(2 << 20); n != 2<<20 {
		t.Errorf("%d bytes allowed of 2 MiB, with 17 MiB left", n)
	}
}

// Bytes by which kernel buffers have grown reduce what the queues of the Budget may hold.
func TestAllowanceIsCharged(t *testing.T) {
	t.Parallel()
	const limit = 16 << 20
	b := NewBudget(limit)
	q := b.NewQueue(limit)
	fill(q, 1, limit/room)
	if n := q.Held(); n < limit/2 {
		t.Fatalf("%d bytes are held without the buffers", n)
	}
	n := b.sockets.Take(limit)
	if n != limit/allowanceShare/2 {
		t.Fatalf("%d bytes are allowed", n)
	}
	if held := q.Held() + int64(n); held > limit {
		t.Errorf("%d bytes are held with the buffers; want %d at most", held, limit)
	}
	fill(q, 1, limit/room)
	if held := q.Held() + int64(n); held > limit {
		t.Errorf("%d bytes are held with the buffers and more packets; want %d at most", held,
			limit)
	}
	b.sockets.Give(n)
	q.Close()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d bytes are charged after the end", used)
	}
}

// Every connection of a Budget has its part of it, and one of a session without has a bound as
// well.
func TestAllowances(t *testing.T) {
	t.Parallel()
	b := NewBudget(100 << 20)
	own, subflows := b.NewQueue(1), b.NewSubflows(1, "token")
	for name, q := range map[string]*Queue{"queue": own, "first subflow": subflows.Join(),
		"second subflow": subflows.Join()} {
		if q.allowance != &b.sockets {
			t.Errorf("%s: another allowance than the budget's", name)
		}
	}
	if b.sockets.limit != 25<<20 {
		t.Errorf("%d bytes are allowed", b.sockets.limit)
	}
	alone := NewSubflows(1)
	if one, two := alone.Join(), alone.Join(); one.allowance != two.allowance ||
		one.allowance.limit != sessionAllowance {
		t.Error("two subflows of a client have not one allowance")
	}
	if NewQueue(1).allowance.Take(2<<20) != 0 {
		t.Error("a queue without an allowance has one")
	}
}
