package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/ipcmd/iptest"
	"tunnel/packet"
	"tunnel/route"
	"tunnel/server"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// Steps at which a first attempt fails, fast.
func TestFirstAttemptFails(t *testing.T) {
	for name, test := range map[string]struct {
		hub    func(*hub)
		change func(*client.Config)
		step   transport.Step
		says   string
	}{
		"nobody there": {func(h *hub) { h.stop() }, nil, transport.StepTCP, "connection refused"},
		"another path": {nil, func(c *client.Config) { c.Dialer.URL.Path = "/other" },
			transport.StepHTTP, "404"},
		"refused token": {nil, func(c *client.Config) { c.Dialer.Token = "wrong-horse-battery" },
			transport.StepAuth, "401"},
		"refused token, keep trying": {
			nil, func(c *client.Config) {
				c.Dialer.Token, c.KeepTrying = "wrong-horse-battery",
					true
			}, transport.StepAuth, "401",
		},
		"a full pool": {
			func(h *hub) {
				h.stop()
				h.Network = "10.9.9.8/29"
				h.Start()
				h.join(transport.Connect{})
				h.join(transport.Connect{})
			},
			nil, transport.StepAddress, "no free address pair in 10.9.9.8/29",
		},
		"as many sessions as there may be": {
			func(h *hub) {
				h.stop()
				h.changed(func(c *server.Config) { c.MaxSessions = 1 })
				h.Start()
				h.join(transport.Connect{})
			},
			nil, transport.StepAddress, "the token has as many sessions as it may have: 1",
		},
		"a taken address": {
			func(h *hub) { h.join(transport.Connect{Address: "10.1.1.77"}) },
			func(c *client.Config) { c.Wanted = addr("10.1.1.77") }, transport.StepAddress,
			"asked for 10.1.1.77, got 10.1.1.3",
		},
		"an address that nobody has": {
			nil, func(c *client.Config) { c.Wanted = addr("10.1.1.4") }, transport.StepAddress,
			"asked for 10.1.1.4, got 10.1.1.3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHub(t)
			if test.hub != nil {
				test.hub(h)
			}
			began := time.Now()
			c := start(t, h.Address, test.change)
			err := c.wait()
			var step *transport.StepError
			if !errors.As(err, &step) || step.Step != test.step ||
				!strings.Contains(err.Error(), test.says) ||
				step.Advice == "" && step.Reason == "" {
				t.Errorf("%v (%+v); want %s, %s", err, step, test.step, test.says)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			c.same()
		})
	}
}

// What is wrong with this machine ends a first attempt as well; what was done is undone.
func TestMachineFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*iptest.Kernel)
		check   func(error) bool
		want    []string
	}{
		"an overlapping route": {
			func(k *iptest.Kernel) { do(t, k, "ip route add 10.1.0.0/16 dev ens160") },
			func(err error) bool { return errors.Is(err, route.ErrOverlap) }, nil,
		},
		"an overlapping address": {
			func(k *iptest.Kernel) {
				do(t, k,
					"ip addr add dev ens160 local 10.1.1.200 peer 10.1.1.201")
			},
			func(err error) bool { return errors.Is(err, route.ErrOverlap) }, nil,
		},
		"an ip that fails": {
			func(k *iptest.Kernel) { k.Fail(route3, 2, "RTNETLINK answers: out of order") },
			func(err error) bool {
				var failed *cmdrun.Error
				return errors.As(err, &failed) && failed.Command.String() == route3 &&
					strings.Contains(err.Error(), "out of order")
			},
			[]string{linkUp, addr3, route3, unaddr3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, startHub(t).Address, nil, test.prepare)
			if err := c.wait(); !test.check(err) {
				t.Errorf("Run returns %v", err)
			}
			c.same(test.want...)
		})
	}
}

func do(t *testing.T, k *iptest.Kernel, command string) {
	t.Helper()
	if err := k.Do(command); err != nil {
		t.Fatal(err)
	}
}

// A server that has had too many logins, or sessions, is asked again, not before it said so, and in
// the end lets the client in.
func TestTooMany(t *testing.T) {
	h := startHub(t)
	h.stop()
	h.changed(func(c *server.Config) { c.MaxSessions = 1 })
	h.Start()
	other, _ := h.join(transport.Connect{})
	c := start(t, h.Address, func(c *client.Config) { c.KeepTrying = true })
	c.logged("as many sessions as it may have", 2)
	other.Close(transport.CodeNormal, "")
	c.until("up ", 1)
	if err := c.stop(); err != nil {
		t.Error(err)
	}

	var answers atomic.Int32
	var first atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answers.Add(1) == 1 {
			first.Store(time.Now().UnixNano())
		} else if time.Since(time.Unix(0, first.Load())) < 2*time.Second {
			t.Error("asked again before the time that the server has said")
		}
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer web.Close()
	busy := start(t, web.Listener.Addr().String(), func(c *client.Config) { c.KeepTrying = true })
	busy.logged("429", 2)
	if err := busy.stop(); err != nil {
		t.Error(err)
	}
}

// TestRetryAfter has a client wait as long as it is told, and a pause of its own.
func TestRetryAfter(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(code)
		}))
		defer web.Close()
		c := start(t, web.Listener.Addr().String(), func(c *client.Config) { c.KeepTrying = true })
		c.logged("retry_in=10m", 1)
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}
}

// At boot nobody gives up.
func TestKeepTrying(t *testing.T) {
	h := newHub(t)
	c := start(t, h.Address, func(c *client.Config) { c.KeepTrying = true })
	c.logged("connection refused", 1)
	h.Start()
	c.until("up ", 1)
	// A token that is refused later is final as well.
	h.stop()
	h.Token = "another-horse-battery"
	h.Start()
	var step *transport.StepError
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth {
		t.Errorf("Run returns %v", err)
	}
}

// A device that fails ends the client with its error; the server is told.
func TestDeviceFails(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	c.device.Failure <- tuntest.ErrDevice
	if err := c.wait(); !errors.Is(err, tuntest.ErrDevice) {
		t.Errorf("Run returns %v", err)
	}
	h.stop()
	if log := h.Log.Text(); !bytes.Contains(log, []byte("(code 1001)")) {
		t.Errorf("the server's log:\n%s", log)
	}
}

// What cannot be undone is said, together with why Run ended.
func TestUndoFails(t *testing.T) {
	h := startHub(t)
	c := start(t, h.Address, nil)
	c.until("up ", 1)
	c.kernel.Fail(unaddr3, 2, "RTNETLINK answers: Device or resource busy")
	c.cancel()
	<-c.ended
	if c.err == nil || !strings.Contains(c.err.Error(), "undo") ||
		!strings.Contains(c.err.Error(), "busy") {
		t.Errorf("Run returns %v", c.err)
	}
	c.kernel.Fail(unaddr3, 0, "")
	do(t, c.kernel, unaddr3)
}

// Whenever it is stopped Run returns nil, at once.
func TestStopAnytime(t *testing.T) {
	mute := hubtest.Listen(t, "127.0.0.1:0") // takes connections and says nothing
	defer func() { _ = mute.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := mute.Accept()
		if err == nil {
			accepted <- conn
		}
	}()
	c := start(t, mute.Addr().String(), nil)
	conn := <-accepted
	defer func() { _ = conn.Close() }()
	stopsAtOnce(t, c)

	h := newHub(t)
	c = start(t, h.Address, func(c *client.Config) { c.KeepTrying = true })
	c.logged("retry_in=", 1)
	stopsAtOnce(t, c)

	unanswered := make(chan struct{}) // the message connect
	address := serve(t, func(conn *ws.Conn) {
		_, _ = conn.Requested(t.Context(), packet.Offload{})
		close(unanswered)
		<-t.Context().Done()
		conn.Close(transport.CodeNormal, "")
	})
	c = start(t, address, nil)
	<-unanswered
	stopsAtOnce(t, c)
}

func stopsAtOnce(t *testing.T, c *joined) {
	t.Helper()
	began := time.Now()
	if err := c.stop(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// An answer that nobody can use.
func TestUnusableServer(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*transport.Connected)
		want   string
	}{
		"no address": {func(m *transport.Connected) { m.Address = "" }, "address"},
		"no mtu":     {func(m *transport.Connected) { m.MTU = 0 }, "mtu 0"},
	} {
		address := serve(t, func(conn *ws.Conn) {
			_, err := conn.Requested(t.Context(), packet.Offload{})
			m := granted()
			test.change(&m)
			if err := errors.Join(err, conn.Grant(t.Context(),
				transport.Connect{Framings: []string{"ip"}}, m, packet.Offload{})); err != nil {
				t.Error(err)
			}
			<-t.Context().Done()
			conn.Close(transport.CodeNormal, "")
		})
		c := start(t, address, nil)
		var step *transport.StepError
		if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepHTTP ||
			!strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: Run returns %v", name, err)
		}
		c.same()
	}
}
