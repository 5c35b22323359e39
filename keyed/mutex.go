// Package keyed has a mutual exclusion lock for each of many keys.
package keyed

import "sync"

// Mutex is one lock per key. Only those that want the same key wait for one another, so that it may
// be held while something slow is done for that key. The zero value is ready for use; it holds
// memory for keys in use only.
type Mutex[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*entry
}

// An entry is the lock of one key that is in use.
type entry struct {
	sync.Mutex
	users int // who holds it or waits for it
}

// Lock locks key and returns the function that unlocks it, to be called once.
func (m *Mutex[K]) Lock(key K) (unlock func()) {
	m.mu.Lock()
	e := m.locks[key]
	if e == nil {
		if m.locks == nil {
			m.locks = map[K]*entry{}
		}
		e = &entry{}
		m.locks[key] = e
	}
	e.users++
	m.mu.Unlock()
	e.Lock()
	return func() {
		e.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(m.locks, key)
		}
	}
}
