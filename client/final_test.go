package client_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/client"
	"tunnel/server/hubtest"
	"tunnel/transport"
)

// portal answers everything by 401 without the server's mark, as a login page or nginx's auth_basic
// does, at an address, and counts. The end of the test, or the returned function, ends it.
func portal(t *testing.T, address string) (bound string, asked *atomic.Int32, end func()) {
	t.Helper()
	asked = new(atomic.Int32)
	ln := hubtest.Listen(t, address)
	web := &http.Server{ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="closed"`)
			w.WriteHeader(http.StatusUnauthorized)
		})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(ln)
	}()
	end = func() {
		_ = web.Close()
		<-done
	}
	t.Cleanup(end)
	return ln.Addr().String(), asked, end
}

// A 401 that does not bear the server's mark ends a first attempt; with KeepTrying it is tried
// again, after a minute.
func TestDoubtfulRefusal(t *testing.T) {
	address, asked, _ := portal(t, "127.0.0.1:0")
	var step *transport.StepError
	c := start(t, address, nil)
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth ||
		!step.Doubtful {
		t.Errorf("Run returns %v", err)
	}
	asked.Store(0)
	c = start(t, address, func(c *client.Config) { c.KeepTrying = true })
	c.logged("retry_in=1m0s", 1)
	time.Sleep(3 * time.Second) // the pauses of any other failure would be over
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times within seconds", n)
	}
	stopsAtOnce(t, c)
}

// Nor does it end a client that was up.
func TestDoubtfulRefusalLater(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	h.stop()
	_, _, end := portal(t, h.Address)
	c.logged("answered 401", 1)
	c.logged("retry_in=1m0s", 1)
	end()
	stopsAtOnce(t, c)
}

// Another server is asked meanwhile, and often.
func TestDoubtfulRefusalOfOne(t *testing.T) {
	address, asked, _ := portal(t, "127.0.0.1:0")
	gone := newHub(t)
	c := start(t, address, func(c *client.Config) {
		others(t, gone.Address)(c)
		c.KeepTrying = true
	})
	c.logged("connection refused", 3)
	if n := asked.Load(); n != 1 {
		t.Errorf("the doubtful one was asked %d times", n)
	}
	gone.Start()
	c.until("up ", 1)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// The server's own word stays final, whatever came before.
func TestServersRefusalIsFinal(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, func(c *client.Config) {
		c.Dialer.Token,
			c.KeepTrying = "wrong-horse-battery", true
	})
	var step *transport.StepError
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth ||
		step.Doubtful || !strings.Contains(err.Error(), "401") {
		t.Errorf("Run returns %v", err)
	}
}
