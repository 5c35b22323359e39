package wan

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// burst is how many frames are read between two checks of what is due.
const burst = 64

// pump moves the frames of one direction. It has a thread to itself, since Go's timers are too
// coarse for a link and a real router does not slow down when the hosts are busy.
type pump struct {
	from, to tap // not closed by the pump
	wake     int // eventfd: check again
	start    time.Time
	read     *packet.Packet // for the next frame; nil if it was used

	mu        sync.Mutex // guards the rest
	direction direction
	stopped   bool
	err       error // why run ended early
}

func newPump(from, to tap, link Link, id uint64) (*pump, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	p := &pump{from: from, to: to, wake: wake, start: time.Now(), direction: direction{id: id}}
	p.direction.set(link)
	return p, nil
}

// set changes the link's parameters.
func (p *pump) set(link Link) { p.change(func(d *direction) { d.set(link) }) }

// change calls f with the direction while no frame moves.
func (p *pump) change(f func(*direction)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.direction)
}

func (p *pump) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.direction.stats
}

// stop makes run return.
func (p *pump) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// close frees what the pump holds, after run has returned, and returns why run ended if it was not
// stop.
func (p *pump) close() error {
	_ = unix.Close(p.wake)
	return p.err
}

// run moves frames until stop.
func (p *pump) run() {
	runtime.LockOSThread() // not unlocked: the thread, which sharpen changes, ends with run
	sharpen()
	for {
		p.mu.Lock()
		if p.stopped {
			p.mu.Unlock()
			return
		}
		more, err := p.accept()
		if err == nil {
			err = p.deliver()
		}
		due, any := p.direction.next()
		if err != nil {
			p.err, p.stopped = err, true
		}
		p.mu.Unlock()
		if more || err != nil {
			continue
		}
		if err := p.wait(due, any); err != nil {
			p.mu.Lock()
			p.err, p.stopped = err, true
			p.mu.Unlock()
		}
	}
}

// sharpen reduces the calling thread's timer slack and raises its priority. Without these rights
// the link is less exact.
func sharpen() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
}

func (p *pump) now() time.Duration { return time.Since(p.start) }

// accept takes up to a burst of frames from the device. more reports whether others may be waiting.
func (p *pump) accept() (more bool, err error) {
	for range burst {
		data, err := p.receive()
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read a frame: %w", err)
		case !p.direction.offer(p.now(), data, p.from.shape(data.Record())):
			data.Free()
		}
	}
	return true, nil
}

// receive reads a frame into a buffer of its size.
func (p *pump) receive() (*packet.Packet, error) {
	if p.read == nil {
		p.read = packet.NewPacket(p.from.room())
	}
	n, err := unix.Read(p.from.fd, p.read.Record())
	if err != nil {
		return nil, err
	}
	data := p.read
	if p.from.offloads && n <= packet.MiddleRoom {
		data = packet.NewPacket(n)
		copy(data.Record(), p.read.Record())
	} else {
		data.Truncate(n)
		p.read = nil
	}
	return data, nil
}

// deliver writes the frames that are due.
func (p *pump) deliver() error {
	for {
		f, deliver, ok := p.direction.arrive(p.now())
		if !ok {
			return nil
		}
		var err error
		switch {
		case !deliver:
		case f.missing != nil:
			err = survivors(f.data.Record(), f.missing, p.send)
		default:
			err = p.send(f.data.Record())
		}
		if f.data != nil {
			f.data.Free()
		}
		if err != nil {
			return err
		}
	}
}

// send writes a frame. A device that is down (EIO) or full (EAGAIN) loses it, as a real one does.
func (p *pump) send(record []byte) error {
	_, err := unix.Write(p.to.fd, record)
	if err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("write a frame: %w", err)
	}
	return nil
}

// wait sleeps until a frame comes in, the next one is due (if any is in flight), or stop.
func (p *pump) wait(due time.Duration, any bool) error {
	var timeout *unix.Timespec
	if any {
		left := due - p.now()
		if left <= 0 {
			return nil
		}
		t := unix.NsecToTimespec(int64(left))
		timeout = &t
	}
	fds := []unix.PollFd{{Fd: int32(p.from.fd), Events: unix.POLLIN}, {Fd: int32(p.wake),
		Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}
