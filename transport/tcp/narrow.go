package tcp

import (
	"sync"

	"golang.org/x/sys/unix"
)

// narrowBuffer bounds what the kernel holds of a peer that is read slowly, in bytes. It is what the
// kernel gives a new connection (tcp_rmem), and has room for a segment of 64 KiB.
const narrowBuffer = 128 << 10

// narrowing is the state of Narrow and Widen.
type narrowing struct {
	rest int // bytes that had arrived before and were not read yet; the reader's

	mu   sync.Mutex // held while the size of the receive buffer is judged or changed
	on   bool       // guarded by mu, as all below; only the reader changes it
	able bool       // the kernel can undo it
	size int        // of the receive buffer before, in bytes
	lock int        // SO_BUF_LOCK before
}

// Narrow bounds the receive buffer by narrowBuffer, until Widen. Otherwise the kernel would fill a
// buffer of up to tcp_rmem for a peer that is read slowly, beyond any budget of this program. It
// returns how many bytes that arrived before Narrow are left: the reader should read them at once,
// because a smaller buffer does not discard them. Only the reader may call it.
func (w *Conn) Narrow() (rest int) {
	if n := &w.narrow; !n.on {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.on = true
		_ = w.raw.Control(func(fd uintptr) { n.begin(int(fd)) })
	}
	return w.narrow.rest
}

func (n *narrowing) begin(fd int) {
	var err error
	n.size = bufferSize(fd, unix.SO_RCVBUF)
	// Before Linux 5.14 the kernel would never again adapt a buffer whose size was set.
	n.lock, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	n.able = err == nil && n.size > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF,
		min(n.size, narrowBuffer)/2) == nil // the kernel doubles the value
	if n.able {
		n.rest, _ = unix.IoctlGetInt(fd, unix.TIOCINQ)
	}
}

// Widen gives the receive buffer its size of before Narrow, and lets the kernel adapt it again.
// Only the reader may call it.
func (w *Conn) Widen() {
	if n := &w.narrow; n.on {
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = w.raw.Control(func(fd uintptr) { n.end(int(fd)) })
		n.on, n.rest = false, 0
	}
}

func (n *narrowing) end(fd int) {
	if !n.able {
		return
	}
	// Without CAP_NET_ADMIN the size is bounded by net.core.rmem_max; the kernel grows it again.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n.size/2) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n.size/2)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, n.lock)
}
