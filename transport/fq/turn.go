package fq

import (
	"runtime"
	"sync"
	"syscall"
)

// readers bounds how many connections have packets in hand at once: about as many as there are
// processors to work on them. The others wait with what they will read still in their sockets,
// where it takes none of this program's memory and holds its sender back. Without that bound each
// of many connections has a buffer in use while it waits for a processor, and everything else
// waits behind all of them.
//
// Owners take turns, as flows do in RFC 8290 section 4.2: one that has just begun goes first, and
// the connections of one owner share its turns. The nil *readers has no bound. All methods are safe
// for concurrent use.
type readers struct {
	mu        sync.Mutex
	free      int // turns that nobody has; 0 while somebody waits
	owners    map[string]*owner
	newOwners ownerList // owners that have just begun to wait, before all others
	oldOwners ownerList
}

// turnRoom is how many bytes are read in a turn that had to be waited for: with packets of the
// least size that is about 10 ms of work.
const turnRoom = 64 << 10

// ReaderRoom is the size in bytes of the two buffers of a connection that has packets in hand: one
// for TLS records, one for frames.
const ReaderRoom = 256 << 10

// newReaders returns readers for connections whose buffers may take that many bytes together.
func newReaders(bytes int64) *readers {
	const each = 2 * ReaderRoom
	return &readers{free: int(max(1, min(int64(runtime.GOMAXPROCS(0)), bytes/each))),
		owners: map[string]*owner{}}
}

// An owner is what has its fair share of the turns: a token, with all its connections.
type owner struct {
	name       string
	head, tail *Turn  // the connections that wait
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

// A Turn is one connection's part of readers. One goroutine uses it. The zero turn has no bound.
type Turn struct {
	all    *readers
	owner  string
	has    bool          // a turn, which End gives back
	denied bool          // by Try, since the last Wait
	waited bool          // for the turn that it has
	most   int           // bytes that may be read in it; 0 for no bound
	ready  chan struct{} // holds a token when Wait has got a turn; nil before the first Wait
	next   *Turn         // of the same owner
}

// Try takes a turn if one is free, and reports whether there is one now.
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

// End gives the turn back, if there is one.
func (t *Turn) End() {
	if t.has {
		t.has = false
		t.all.pass()
	}
}

// Bound has each read from now on be of no more than that many bytes; 0 is for no bound.
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

// enqueue puts t behind the other connections of its owner.
func (a *readers) enqueue(t *Turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.free > 0 { // it was given back after Try
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
	if t.next = nil; o.head == nil {
		o.head = t
	} else {
		o.tail.next = t
	}
	o.tail = t
}

// pass gives a turn to the connection that is next.
func (a *readers) pass() {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.first()
	if t == nil {
		a.free++
		return
	}
	t.ready <- struct{}{}
}

// first removes the connection whose turn it is, nil if none waits, and forgets the owners whose
// turn comes and that have none. The caller holds mu.
func (a *readers) first() *Turn {
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
		o.head = t.next
		a.oldOwners.push(o) // even if no other waits: it must not come back as a new one at once
		return t
	}
}
