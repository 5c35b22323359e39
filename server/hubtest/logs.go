package hubtest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// Logs collects log lines. Its methods may be called concurrently.
type Logs struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

// Text returns all lines.
func (l *Logs) Text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buffer.Bytes())
}

// Until waits until text is in the log n times.
func (l *Logs) Until(t testing.TB, text string, n int) {
	t.Helper()
	for late := time.Now().Add(Patience); bytes.Count(l.Text(),
		[]byte(text)) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%q is not %d times in the log:\n%s", text, n, l.Text())
		}
	}
}
