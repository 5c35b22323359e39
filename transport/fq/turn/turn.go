// Package turn bounds how many connections read at once, and has their owners take turns.
package turn

import (
	"runtime"
	"sync"
	"syscall"
)

// Readers bounds the number of connections that process packets at once, to about the number of
// processors. The others wait before they read: their bytes stay in the sockets, where they take
// none of this program's memory, and TCP slows the senders down. Else each would occupy a buffer
// while it waits for a processor, and all other work would wait behind them.
//
// Owners take turns, as flows do in RFC 8290 section 4.2: new owners go first, and the connections
// of one owner share its turns. The nil *Readers has no bound. All methods are safe for concurrent
// use.
type Readers struct {
	mu        sync.Mutex
	free      int // turns that are not taken; 0 while a Turn waits
	owners    map[string]*owner
	newOwners ownerList // owners that have just begun to wait; served first
	oldOwners ownerList
}

// turnRoom bounds the bytes read in a turn that was waited for: with packets of minimum size that
// is about 10 ms of work.
const turnRoom = 64 << 10

// ReaderRoom is the size, in bytes, of each of the two buffers of a connection that processes
// packets: one for TLS records, one for frames.
const ReaderRoom = 256 << 10

// NewReaders returns Readers for connections whose buffers may have that many bytes together.
func NewReaders(bytes int64) *Readers {
	const each = 2 * ReaderRoom
	return &Readers{free: int(max(1, min(int64(runtime.GOMAXPROCS(0)), bytes/each))),
		owners: map[string]*owner{}}
}

// An owner is a token with all its connections, which together have one fair share of the turns.
type owner struct {
	name       string
	head, tail *Turn  // the waiting connections
	next       *owner // in newOwners or oldOwners
}

// ownerList is a queue of owners.
type ownerList struct{ head, tail *owner }

func (l *ownerList) push(o *owner) {
	o.next = nil
	if l.head == nil {
		l.head = o
	} else {
		l.tail.next = o
	}
	l.tail = o
}

func (l *ownerList) shift() *owner {
	o := l.head
	if o != nil {
		l.head = o.next
	}
	return o
}

// A Turn is the state of one connection among the readers. One goroutine uses it. The zero Turn has
// no bound.
type Turn struct {
	all    *Readers
	owner  string
	has    bool          // whether the connection has a turn, until End
	denied bool          // Try has returned false since the last Wait
	waited bool          // the present turn is from Wait
	most   int           // bytes that may be read in a turn; 0 for no bound
	ready  chan struct{} // holds a token when Wait has got a turn; nil before the first Wait
	next   *Turn         // of the same owner
}

// Bind makes t a turn among a, as one of owner's. It is called before the first Try.
func (a *Readers) Bind(t *Turn, owner string) { t.all, t.owner = a, owner }

// Try takes a turn if one is free, and reports whether the connection has one.
func (t *Turn) Try() bool {
	if t.all == nil || t.has {
		return true
	}
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	if t.has = t.all.free > 0; t.has {
		t.all.free--
		t.waited = false
	}
	t.denied = !t.has
	return t.has
}

// Wait waits for a turn, after Try has returned false.
func (t *Turn) Wait() {
	t.denied = false
	if t.ready == nil {
		t.ready = make(chan struct{}, 1)
	}
	t.all.enqueue(t)
	<-t.ready
	t.has, t.waited = true, true
}

// Read reads by calls of f, as syscall.RawConn's Read does, in a turn. f returns true also when Try
// has denied it a turn.
func (t *Turn) Read(raw syscall.RawConn, f func(fd uintptr) bool) error {
	err := raw.Read(f)
	for err == nil && t.denied {
		t.Wait()
		err = raw.Read(f)
	}
	return err
}

// End returns the turn, if the connection has one.
func (t *Turn) End() {
	if t.has {
		t.has = false
		t.all.pass()
	}
}

// Bound limits each read from now on to that many bytes; 0 means no bound.
func (t *Turn) Bound(most int) { t.most = most }

// Limit returns the part of p that may be read into in this turn.
func (t *Turn) Limit(p []byte) []byte {
	if t.waited {
		p = p[:min(len(p), turnRoom)]
	}
	if t.most > 0 {
		p = p[:min(len(p), t.most)]
	}
	return p
}

// enqueue appends t to the waiting connections of its owner.
func (a *Readers) enqueue(t *Turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.free > 0 { // a turn became free after Try
		a.free--
		t.ready <- struct{}{}
		return
	}
	o := a.owners[t.owner]
	if o == nil {
		o = &owner{name: t.owner}
		a.owners[t.owner] = o
		a.newOwners.push(o)
	}
	if o.head == nil {
		o.head = t
	} else {
		o.tail.next = t
	}
	o.tail = t
}

// pass hands a turn to the next waiting connection, if there is one.
func (a *Readers) pass() {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.first()
	if t == nil {
		a.free++
		return
	}
	t.ready <- struct{}{}
}

// first removes and returns the next waiting connection, nil if none waits. It removes owners
// without a waiting connection on the way. The caller holds mu.
func (a *Readers) first() *Turn {
	for {
		o := a.newOwners.shift()
		if o == nil {
			o = a.oldOwners.shift()
		}
		if o == nil {
			return nil
		}
		t := o.head
		if t == nil {
			delete(a.owners, o.name)
			continue
		}
		if o.head, t.next = t.next, nil; o.head == nil { // no link keeps an ended connection
			o.tail = nil
		}
		a.oldOwners.push(o) // even if o is empty now: it must not become a new owner again at once
		return t
	}
}
