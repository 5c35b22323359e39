package audit

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"tunnel/defect"
)

// MaxBatch is the most entries that a Send is given at once.
const MaxBatch = 64

const (
	maxQueue  = 4096     // entries that wait to be passed on, beside one of HubStopped
	maxRecent = 512      // entries that Tail has
	batchSize = 96 << 10 // bytes of their JSON at most

	// pause is the time between two batches, in which entries gather: passing them on costs a
	// message each time.
	pause = 50 * time.Millisecond
	// lastTime bounds what is passed on at the end.
	lastTime = time.Second
	// omittedPause is the time between two entries about refused logins that were left out.
	omittedPause = time.Minute
)

// A Recorder takes entries without waiting. Run passes them on; Tail has the latest. All methods
// may be called concurrently, and a nil *Recorder records nothing.
type Recorder struct {
	dev  string
	send Send
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{} // has an element when the queue is not empty

	mu      sync.Mutex
	queue   []Entry           // guarded by mu, as all below
	lost    uint64            // entries for which there was no room, or that Send did not take
	recent  []Entry           // a ring of maxRecent, once it is full
	oldest  int               // its index in recent
	refused limits            // of entries about refused logins
	omitted map[string]uint64 // such entries that were left out since the last that said so
}

// A Send passes entries on to be written, until ctx ends. They are not changed afterwards.
type Send func(ctx context.Context, entries []Entry) error

// NewRecorder returns the Recorder of a hub with that device. Nothing is passed on before Run; log
// has what could not be.
func NewRecorder(dev string, send Send, log *slog.Logger) *Recorder {
	return &Recorder{dev: dev, send: send, log: log, now: time.Now, wake: make(chan struct{}, 1),
		omitted: map[string]uint64{}}
}

// Record takes an entry, and sets its time unless it has one. Of entries about refused logins,
// which unauthenticated clients cause, it leaves out most if there are many; others say how many,
// by their reasons.
func (r *Recorder) Record(e Entry) {
	if r == nil {
		return
	}
	now := r.now()
	if e.Time.IsZero() {
		e.Time = now
	}
	if e.Dev == "" {
		e.Dev = r.dev
	}
	e.Tidy()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Event == Refused && !r.refused.take(e.Remote, now) {
		if _, ok := r.omitted[e.Reason]; ok || len(r.omitted) < maxCounts {
			r.omitted[e.Reason]++
		}
		return
	}
	if e.Event == HubStopped { // nothing comes after it
		r.addOmitted()
	}
	r.add(e)
}

// add puts an entry into the queue and the ring. The caller holds mu.
func (r *Recorder) add(e Entry) {
	r.remember(e)
	if len(r.queue) >= maxQueue && e.Event != HubStopped { // --on-down hangs on that
		r.lost++
		return
	}
	r.queue = append(r.queue, e)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// remember puts an entry into the ring. The caller holds mu.
func (r *Recorder) remember(e Entry) {
	if len(r.recent) < maxRecent {
		r.recent = append(r.recent, e)
		return
	}
	r.recent[r.oldest] = e
	r.oldest = (r.oldest + 1) % maxRecent
}

// Tail returns the latest n entries, or as many as there are of the last 512, the newest last.
func (r *Recorder) Tail(n int) []Entry {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n = max(0, min(n, len(r.recent)))
	latest := make([]Entry, 0, n)
	for i := len(r.recent) - n; i < len(r.recent); i++ {
		latest = append(latest, r.recent[(r.oldest+i)%len(r.recent)])
	}
	return latest
}

// Run passes entries on until ctx ends, and then the rest, for a second at most.
func (r *Recorder) Run(ctx context.Context) {
	ticker := time.NewTicker(omittedPause)
	defer ticker.Stop()
	for {
		select {
		case <-r.wake:
		case <-ticker.C:
			r.sayOmitted()
		case <-ctx.Done():
			r.sayOmitted()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
			defer cancel()
			for r.pass(last) {
			}
			return
		}
		// A batch that is being written is not broken off: nobody knew whether it was.
		for ctx.Err() == nil && r.pass(context.WithoutCancel(ctx)) {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// sayOmitted records which entries were left out, if any were.
func (r *Recorder) sayOmitted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addOmitted()
}

// addOmitted is sayOmitted for a caller that holds mu.
func (r *Recorder) addOmitted() {
	if len(r.omitted) == 0 {
		return
	}
	e := Entry{Time: r.now(), Event: RefusedOmitted, Dev: r.dev, Omitted: maps.Clone(r.omitted)}
	e.Tidy()
	clear(r.omitted)
	r.add(e)
}

// pass passes a batch on, and reports whether there was one.
func (r *Recorder) pass(ctx context.Context) bool {
	batch, lost := r.take()
	if len(batch) == 0 {
		return false
	}
	var err error
	if failed := defect.Do(func() { err = r.send(ctx, batch) }); failed != nil {
		err = failed
	}
	if err == nil {
		return true
	}
	r.mu.Lock()
	r.lost += lost + uint64(len(batch))
	r.mu.Unlock()
	r.log.Warn("entries of the audit log are lost", "entries", len(batch), "err", err)
	return ctx.Err() == nil
}

// take takes a batch out of the queue. If entries were lost, its first says how many.
func (r *Recorder) take() (batch []Entry, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := 0
	if len(r.queue) > 0 && r.lost > 0 {
		lost = r.lost
		e := Entry{Time: r.now(), Event: EntriesLost, Dev: r.dev, Lost: lost,
			Reason: "they came faster than they were written"}
		size = e.Tidy()
		batch, r.lost = append(batch, e), 0
	}
	n := fitting(r.queue, size, MaxBatch-len(batch))
	batch = append(batch, r.queue[:n]...)
	r.queue = append(r.queue[:0:0], r.queue[n:]...)
	return batch, lost
}

// fitting returns how many entries, at most most, fit into a batch that has size bytes already. The
// first of a batch fits.
func fitting(entries []Entry, size, most int) (n int) {
	for n < min(len(entries), most) {
		if size += entries[n].Tidy(); size > batchSize {
			break
		}
		n++
	}
	return n
}
