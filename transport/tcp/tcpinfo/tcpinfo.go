// Package tcpinfo reads what the kernel knows of a TCP connection (TCP_INFO in tcp(7),
// include/uapi/linux/tcp.h). A question costs two system calls; nobody who sends or receives waits.
package tcpinfo

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Info is the state of a connection. Its bytes are those of the TCP connection, with TLS and
// framing.
type Info struct {
	RTT        time.Duration // the smoothed round trip; 0 if not known
	MinRTT     time.Duration // the least of the last minutes; 0 if not known
	Acked      uint64        // bytes that the other end has acknowledged
	Received   uint64        // bytes
	Segments   uint32        // sent, with those sent again; wraps around
	Resent     uint32        // of these, sent again; wraps around
	Rate       uint64        // at which data was last delivered, in bytes a second; 0 if not known
	Unsent     uint32        // bytes in the send buffer that were never sent
	Congestion string        // the congestion control, as the kernel names it
}

// unknown is the kernel's value for a round trip that was not measured.
const unknown = 1<<32 - 1

// Reader reads the Info of one connection. Its methods may be called concurrently.
type Reader struct {
	mu   sync.Mutex
	last Info
}

// Read returns the state of raw now. If raw is closed at this end, it returns what the last Read
// has returned.
func (r *Reader) Read(raw syscall.RawConn) Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = raw.Control(func(fd uintptr) {
		if now, err := read(int(fd)); err == nil {
			r.last = now
		}
	})
	return r.last
}

func read(fd int) (Info, error) {
	k, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Info{}, err
	}
	i := Info{
		RTT: time.Duration(k.Rtt) * time.Microsecond, Acked: k.Bytes_acked,
		Received: k.Bytes_received, Segments: k.Segs_out, Resent: k.Total_retrans,
		Rate: k.Delivery_rate, Unsent: k.Notsent_bytes,
	}
	if k.Min_rtt != unknown {
		i.MinRTT = time.Duration(k.Min_rtt) * time.Microsecond
	}
	i.Congestion, _ = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	return i, nil
}
