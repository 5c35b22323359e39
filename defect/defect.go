// Package defect turns a panic into an error, so that a defect caused by one peer's bytes ends that
// peer and not the program. Failures from which the runtime cannot recover (a concurrent map write,
// exhausted memory) still end the program.
package defect

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
)

// Error is a panic that Catch has caught.
type Error struct {
	value any
	stack []uintptr
}

func (e *Error) Error() string { return fmt.Sprintf("a defect of this program: %v", e.value) }

// Is reports whether err is, or wraps, an Error.
func Is(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// depth bounds the recorded frames of a stack.
const depth = 32

// Catch must be deferred. It recovers from a panic of the deferring function, and sets *err to an
// *Error. State that the function was changing may be inconsistent: the caller must not use it
// again, and locks must be released by defers. Without a panic the cost of Catch is negligible.
func Catch(err *error) {
	value := recover()
	if value == nil {
		return
	}
	var stack [depth]uintptr
	n := runtime.Callers(2, stack[:])
	*err = &Error{value, stack[:n]}
}

// Do runs f, and returns its panic as the error.
func Do(f func()) (err error) {
	defer Catch(&err)
	f()
	return nil
}

// place returns the frame of the panic, and all frames, a line each.
func (e *Error) place() (first, all string) {
	var b strings.Builder
	for frames, more := runtime.CallersFrames(e.stack), true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		line := fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line)
		if first == "" && !strings.HasPrefix(f.Function, "runtime.") {
			first = line
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return first, b.String()
}

// Log counts defects and writes each to the log once. The zero Log is ready to use, by any number
// of goroutines.
type Log struct {
	mu    sync.Mutex
	seen  map[string]uint64 // by place
	count uint64
}

// Note reports whether err is an Error, and if so counts and logs it: the first of each place with
// its stack, then one line whenever the number from that place has doubled.
func (l *Log) Note(err error, log *slog.Logger) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	place, stack := e.place()
	l.mu.Lock()
	if l.seen == nil {
		l.seen = map[string]uint64{}
	}
	l.count++
	l.seen[place]++
	times := l.seen[place]
	l.mu.Unlock()
	switch {
	case times == 1:
		log.Error("a defect of this program; please report it", "defect", e.value, "stack", stack)
	case times&(times-1) == 0:
		log.Error("a defect of this program, again", "defect", e.value, "place", place, "times",
			times)
	}
	return true
}

// Count returns how many defects have been noted.
func (l *Log) Count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
