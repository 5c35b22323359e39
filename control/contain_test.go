package control

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// faultyListener panics once, over the first connection.
type faultyListener struct {
	net.Listener
	once sync.Once
}

func (l *faultyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.once.Do(func() { panic("a defect in accepting") })
	return conn, err
}

// A panic over a connection or in answering a request ends that one only: the client is told, the
// log has it, and the next request is answered.
func TestDefects(t *testing.T) {
	dir := t.TempDir()
	ln, err := ListenConfirm(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	asked := 0
	serving.Go(func() {
		ServeConfirm(ctx, &faultyListener{Listener: ln}, func() error {
			if asked++; asked == 1 {
				panic("a defect in confirming")
			}
			return nil
		}, slog.New(slog.NewTextHandler(&out, nil)))
	})
	// The first connection is closed by the garbage collector, so its client must not wait.
	first, err := new(net.Dialer).DialContext(ctx, "unix", dir+"/tun0"+confirmSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := Confirm(ctx, dir, "tun0"); err == nil || !strings.Contains(err.Error(),
		"a defect of this program: a defect in confirming") {
		t.Errorf("the request over which it panicked: %v", err)
	}
	if err := Confirm(ctx, dir, "tun0"); err != nil {
		t.Errorf("the next request: %v", err)
	}
	_ = first.Close()
	cancel()
	serving.Wait()
	if text := out.String(); strings.Count(text, "stack=") != 2 {
		t.Errorf("the log:\n%s", text)
	}
}

// brokenListener panics over each connection.
type brokenListener struct{ accepted int }

func (l *brokenListener) Accept() (net.Conn, error) {
	l.accepted++
	panic("a defect in accepting")
}

func (*brokenListener) Close() error   { return nil }
func (*brokenListener) Addr() net.Addr { return &net.UnixAddr{} }

// A listener that panics again and again does not occupy a processor, and ends with the program.
func TestRepeatedDefects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var broken brokenListener
		began := time.Now()
		if err := serve(ctx, &broken, http.NotFoundHandler(),
			slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		const most = time.Minute/defectPause + 1
		if took := time.Since(began); took != time.Minute || broken.accepted > int(most) {
			t.Errorf("asked %d times in %v, want %d at most", broken.accepted, took, most)
		}
	})
}
