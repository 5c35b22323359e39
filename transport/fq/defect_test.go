package fq

import "testing"

// A panic while a queue is changed does not leave it locked: the reader of the device would block.
func TestPanicLeavesNothingLocked(t *testing.T) {
	subflows := NewSubflows(1 << 20)
	one, two := subflows.Join(), subflows.Join()
	alone := NewQueue(1 << 20)
	alone.clock, one.clock, two.clock = nil, nil, nil // calling it panics
	for name, push := range map[string]func(){
		"a queue":  func() { alone.Push(datagram(1, 100, 0, 0)) },
		"subflows": func() { subflows.Push(datagram(1, 100, 0, 0)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic: this tests nothing", name)
				}
			}()
			push()
		}()
	}
	for name, q := range map[string]*Queue{"alone": alone, "one": one, "two": two} {
		if !q.mu.TryLock() {
			t.Errorf("queue %s stays locked", name)
		}
	}
	if !subflows.mu.TryLock() {
		t.Error("the subflows stay locked")
	}
}
