package cli

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// onTerminal reports whether this process has a controlling terminal, whose hangup is the end.
func onTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// onHangup has SIGHUP call end, until the returned function is called: from then on it sends to the
// channel that this returns, to which several at once send once.
func onHangup(end func()) (take func() <-chan struct{}) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var mu sync.Mutex
	var taken chan struct{}
	go func() {
		for range signals {
			mu.Lock()
			if taken == nil {
				end()
			} else {
				select {
				case taken <- struct{}{}:
				default:
				}
			}
			mu.Unlock()
		}
	}()
	return func() <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if taken == nil {
			taken = make(chan struct{}, 1)
		}
		return taken
	}
}
