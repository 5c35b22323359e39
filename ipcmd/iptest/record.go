package iptest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"tunnel/cmdrun"
)

// Recorder notes every command before it hands it to the next cmdrun.Runner. It is safe for
// concurrent use.
type Recorder struct {
	next cmdrun.Runner

	mu       sync.Mutex
	commands []cmdrun.Command // guarded by mu
}

// NewRecorder returns a Recorder before next; when next is nil every command succeeds and prints
// nothing.
func NewRecorder(next cmdrun.Runner) *Recorder { return &Recorder{next: next} }

// Run implements Runner.
func (r *Recorder) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	r.mu.Lock()
	r.commands = append(r.commands, c)
	r.mu.Unlock()
	if r.next == nil {
		return nil, nil
	}
	return r.next.Run(ctx, c)
}

// Commands returns all commands so far, in order.
func (r *Recorder) Commands() []cmdrun.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.commands)
}

// Transcript returns the commands so far, one a line, those of a batch in its place.
func (r *Recorder) Transcript() string {
	var text strings.Builder
	for _, c := range r.Commands() {
		for _, each := range c.Each {
			text.WriteString(each.String() + "\n")
		}
		if len(c.Each) == 0 {
			text.WriteString(c.String() + "\n")
		}
	}
	return text.String()
}

// Reset forgets the commands so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = nil
}
