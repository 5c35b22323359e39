package wan

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameRoom = 2048 // bytes; the largest frame is 1514, with a VLAN tag 1518
	burst     = 64   // frames read between two looks at what is due
)

// pump is one direction at work. It has a thread to itself: Go's timers are too coarse for a line,
// and a router would not slow down because the hosts are busy.
type pump struct {
	from, to int // TAP devices; not closed by the pump
	wake     int // eventfd: look again
	start    time.Time

	mu      sync.Mutex // guards the rest
	line    line
	stopped bool
	spare   [][]byte // buffers that carry no frame
	err     error    // why it ended early
}

func newPump(from, to int, link Link, direction uint64) (*pump, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	p := &pump{from: from, to: to, wake: wake, start: time.Now(), line: line{direction: direction}}
	p.line.set(link)
	return p, nil
}

// set changes the link.
func (p *pump) set(link Link) { p.change(func(l *line) { l.set(link) }) }

// change lets f change the line while no frame moves.
func (p *pump) change(f func(*line)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.line)
}

func (p *pump) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line.stats
}

// stop makes run return.
func (p *pump) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// close frees what the pump holds, once run has returned, and says why run ended if it was not
// stop.
func (p *pump) close() error {
	_ = unix.Close(p.wake)
	return p.err
}

// run moves frames until stop.
func (p *pump) run() {
	runtime.LockOSThread() // for ever: the thread, with what sharpen does to it, ends with run
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
		due, any := p.line.next()
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

// sharpen lets the calling thread wake up on time and before others. Without it the line works,
// less exactly.
func sharpen() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
}

func (p *pump) now() time.Duration { return time.Since(p.start) }

// accept takes up to a burst of frames from the device. more tells whether others may be waiting.
func (p *pump) accept() (more bool, err error) {
	for range burst {
		buf := p.buffer()
		n, err := unix.Read(p.from, buf)
		switch {
		case err == nil && p.line.offer(p.now(), buf[:n]):
			continue
		case err == nil, errors.Is(err, unix.EINTR):
			p.spare = append(p.spare, buf)
			continue
		}
		p.spare = append(p.spare, buf)
		if errors.Is(err, unix.EAGAIN) {
			return false, nil
		}
		return false, fmt.Errorf("read a frame: %w", err)
	}
	return true, nil
}

// deliver hands over the frames that are due.
func (p *pump) deliver() error {
	for {
		data, deliver, ok := p.line.arrive(p.now())
		if !ok {
			return nil
		}
		if deliver {
			// A device that is down (EIO) or has no room for more (EAGAIN) loses the frame, as on a
			// wire.
			_, err := unix.Write(p.to, data)
			if err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("write a frame: %w", err)
			}
		}
		if data != nil {
			p.spare = append(p.spare, data[:frameRoom])
		}
	}
}

// wait sleeps until a frame comes in, the next one is due (if any is on the way), or stop.
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
	fds := []unix.PollFd{{Fd: int32(p.from), Events: unix.POLLIN}, {Fd: int32(p.wake),
		Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

// buffer returns a buffer for a frame.
func (p *pump) buffer() []byte {
	last := len(p.spare) - 1
	if last < 0 {
		return make([]byte, frameRoom)
	}
	buf := p.spare[last]
	p.spare = p.spare[:last]
	return buf
}
