// Package defect turns a panic into an error, so that a defect which one peer's bytes run into ends that peer and not the
// program. What the runtime cannot recover from (a concurrent map write, memory that is exhausted) still ends it.
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

// depth is how many frames of a stack are kept.
const depth = 32

// Catch is to be deferred: it recovers from a panic of the function that defers it, and sets *err to an *Error. Whatever the
// function was changing may be half changed: the caller must not use it again, and locks must be released by defers. Catch
// costs nothing worth mentioning where nothing panics.
func Catch(err *error) {
	value := recover()
	if value == nil {
		return
	}
	var stack [depth]uintptr
	n := runtime.Callers(2, stack[:])
	*err = &Error{value, stack[:n]}
}

// Do runs f; a panic of it is the error.
func Do(f func()) (err error) {
	defer Catch(&err)
	f()
	return nil
}

// place returns where the panic began, and all frames, a line each.
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

// Log counts defects and writes each to the log once. The zero Log is ready to use, by any number of goroutines.
type Log struct {
	mu    sync.Mutex
	seen  map[string]uint64 // by place
	count uint64
}

// Note reports whether err is an Error, counts it if so, and says it to log: the first of each place with its stack, then
// one line whenever the number of those from there has doubled.
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
		log.Error("a defect of this program, again", "defect", e.value, "place", place, "times", times)
	}
	return true
}

// Count returns how many defects have been noted.
func (l *Log) Count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
