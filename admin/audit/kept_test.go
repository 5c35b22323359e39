package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// bucket is one of a state.File.
type bucket map[string][]byte

func (b bucket) Each(f func(string, []byte) error) error {
	var keys []string
	for k := range b {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := f(k, b[k]); err != nil {
			return err
		}
	}
	return nil
}

func (b bucket) Write(put map[string][]byte, remove ...string) error {
	for _, k := range remove {
		delete(b, k)
	}
	for k, v := range put {
		b[k] = v
	}
	return nil
}

// What commands did without a hub is kept for one, bounded, and given once, in order.
func TestKeep(t *testing.T) {
	b := bucket{}
	uid := uint32(1000)
	for i := range maxKept + 7 {
		if err := Keep(b, Entry{Time: time.Unix(int64(1000+i), 0), Event: TokenCreated, UID: &uid,
			Token: fmt.Sprint("t", i)}); err != nil {
			t.Fatal(err)
		}
	}
	b["other"] = []byte("no entry")
	c := collected{err: errors.New("not yet")}
	r := NewRecorder("tun0", c.send, slog.New(slog.DiscardHandler))
	if err := r.Drain(t.Context(), b); err == nil || len(b) != maxKept {
		t.Fatalf("%v, %d left of what nobody has taken", err, len(b))
	}
	c.err = nil
	for range 2 {
		if err := r.Drain(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	got := c.all
	if len(got) != maxKept || got[0].Token != "t7" || *got[0].UID != 1000 || got[0].Dev != "" ||
		len(b) != 0 || len(r.Tail(1)) != 1 {
		t.Errorf("%d, first %+v, %d left", len(got), got[0], len(b))
	}
}
