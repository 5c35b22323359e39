package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// exchangePatience is the time for which the kernels of both hosts keep an exchange's connection
// without an answer.
const exchangePatience = 10 * time.Minute

// pace is what an exchange sends in each direction: at every tick a piece of at most this many
// bytes.
type pace struct {
	piece int
	tick  time.Duration
	mixed bool // pieces of random sizes from 1 byte, each a segment of its own
}

// steady returns a pace of about 4 MB/s: enough that a fault at any moment is noticed, and little
// enough for many tests at a time.
func steady() pace { return pace{piece: 16 << 10, tick: 4 * time.Millisecond} }

// exchange is a TCP connection between two hosts on which both ends send until finish. Its sockets
// live in the kernels of the hosts and no process can be killed, so only the tunnel decides whether
// it survives.
type exchange struct {
	t          *testing.T
	name       string
	pace       pace
	directions [2]*direction
	stop       chan struct{} // closed by finish
	all        sync.WaitGroup
}

// direction is one direction of an exchange.
type direction struct {
	name           string
	from, to       *net.TCPConn
	sent, received atomic.Int64 // bytes
	// Of the bytes sent and received; read by finish, after both goroutines have ended.
	in, out hash.Hash
	mu      sync.Mutex
	failed  error // guarded by mu
}

// startExchange connects a host to an address of another, across the tunnel, and lets both ends
// send.
func startExchange(t *testing.T, from, to *lab.Host, addr string) *exchange {
	t.Helper()
	return startPaced(t, from, to, addr, steady())
}

// startPaced is startExchange at another pace.
func startPaced(t *testing.T, from, to *lab.Host, addr string, p pace) *exchange {
	t.Helper()
	a, b := connection(t, from, to, addr)
	x := &exchange{t: t, name: from.Name() + " ⇄ " + to.Name() + " " + addr, pace: p,
		stop: make(chan struct{})}
	for i, ends := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		w := &direction{name: fmt.Sprintf("%s, way %d", x.name, i), from: ends[0], to: ends[1],
			in: sha256.New(), out: sha256.New()}
		x.directions[i] = w
		x.all.Go(func() { w.fail("send", w.send(rand.NewChaCha8([32]byte{byte(i)}), p, x.stop)) })
		x.all.Go(func() { w.fail("receive", w.receive()) })
	}
	t.Cleanup(func() {
		x.end()
		_ = a.Close()
		_ = b.Close()
		x.all.Wait()
	})
	return x
}

// connection opens a TCP connection between two hosts. The caller closes both ends.
func connection(t *testing.T, from, to *lab.Host, addr string) (a, b *net.TCPConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var lis net.Listener
	err := to.Do(func() (err error) {
		lis, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s of %s: %v", addr, to.Name(), err)
	}
	defer lis.Close()
	dialed, err := from.DialContext(ctx, "tcp", lis.Addr().String())
	if err != nil {
		t.Fatalf("connect %s to %s: %v", from.Name(), addr, err)
	}
	accepted, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b = dialed.(*net.TCPConn), accepted.(*net.TCPConn)
	patient(t, a)
	patient(t, b)
	return a, b
}

// patient makes the kernel keep a connection for exchangePatience and, from Linux 6.15 on,
// retransmit every second: with exponential backoff tests would wait for the kernel and not for the
// tunnel.
func patient(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const rtoMax = 44 // TCP_RTO_MAX_MS of linux/tcp.h
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(exchangePatience/time.Millisecond))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, rtoMax, 1000)
	})
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

func (w *direction) send(source *rand.ChaCha8, p pace, stop <-chan struct{}) error {
	buf := make([]byte, p.piece)
	ticker := time.NewTicker(p.tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return w.from.CloseWrite()
		case <-ticker.C:
		}
		piece := buf
		if p.mixed {
			piece = buf[:1+source.Uint64()%uint64(p.piece)]
		}
		if _, err := io.ReadFull(source, piece); err != nil {
			return err
		}
		n, err := w.from.Write(piece)
		w.in.Write(piece[:n])
		w.sent.Add(int64(n))
		if err != nil {
			return err
		}
	}
}

func (w *direction) receive() error {
	buf := make([]byte, 256<<10)
	for {
		n, err := w.to.Read(buf)
		w.out.Write(buf[:n])
		w.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *direction) fail(what string, err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = errors.Join(w.failed, fmt.Errorf("%s: %s: %w", w.name, what, err))
}

func (w *direction) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// flows waits until bytes that both ends send from now on arrive, and returns how long that took.
// It fails the test if the connection breaks or d has passed.
func (x *exchange) flows(d time.Duration) time.Duration {
	x.t.Helper()
	begin := time.Now()
	for _, w := range x.directions {
		target := w.sent.Load() + int64(x.pace.piece)
		for w.received.Load() < target {
			if err := w.err(); err != nil {
				x.t.Fatal(err)
			}
			if time.Since(begin) > d {
				x.t.Fatalf("%s: nothing arrives within %v: %d bytes of %d", w.name, d,
					w.received.Load(), w.sent.Load())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return time.Since(begin)
}

// received returns how many bytes have arrived in both directions.
func (x *exchange) received() int64 {
	return x.directions[0].received.Load() + x.directions[1].received.Load()
}

func (x *exchange) end() {
	select {
	case <-x.stop:
	default:
		close(x.stop)
	}
}

// finish stops both senders, waits until everything has arrived, and compares checksums.
func (x *exchange) finish() {
	x.t.Helper()
	x.end()
	over := make(chan struct{})
	go func() {
		x.all.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(2 * soon):
		x.t.Fatalf("%s: hangs: %d of %d bytes and %d of %d", x.name, x.directions[0].received.Load(),
			x.directions[0].sent.Load(),
			x.directions[1].received.Load(), x.directions[1].sent.Load())
	}
	for _, w := range x.directions {
		if err := w.err(); err != nil {
			x.t.Error(err)
		}
		sent, received := w.sent.Load(), w.received.Load()
		if sent == 0 || sent != received || !bytes.Equal(w.in.Sum(nil), w.out.Sum(nil)) {
			x.t.Errorf("%s: sent %d bytes with checksum %x, received %d with %x", w.name, sent,
				w.in.Sum(nil), received, w.out.Sum(nil))
		}
	}
	x.t.Logf("%s: %d and %d KB, checksums right", x.name, x.directions[0].sent.Load()>>10,
		x.directions[1].sent.Load()>>10)
}
