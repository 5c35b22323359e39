package scope

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestWithinUndoesInOrder(t *testing.T) {
	t.Parallel()
	var done []string
	err := Within(t.Context(), "test", t.Logf, func(s *Scope) {
		s.Cleanup(func() { done = append(done, "first") })
		s.Cleanup(func() {
			done = append(done, "second")
			s.Fatalf("the clean-up failed too")
		})
		s.Fatalf("it is %s", "broken")
		done = append(done, "not reached")
	})
	if err == nil || err.Error() != "it is broken" {
		t.Errorf("error %v, want the first failure", err)
	}
	if !slices.Equal(done, []string{"second", "first"}) {
		t.Errorf("done: %v", done)
	}
	if err := Within(t.Context(), "test", t.Logf, func(s *Scope) { s.Must(nil) }); err != nil {
		t.Errorf("nothing failed: %v", err)
	}
}

func TestWithinEndsWithContext(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	undone := false
	err := Within(ctx, "test", t.Logf, func(s *Scope) {
		s.Cleanup(func() { undone = true })
		cancel(why)
		time.Sleep(50 * time.Millisecond) // as long as a program takes to end
		s.Fatalf("the program was ended")
	})
	if !errors.Is(err, why) || !undone {
		t.Errorf("error %v, undone: %v", err, undone)
	}
}
