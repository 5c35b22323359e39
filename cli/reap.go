package cli

import (
	"errors"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

// As PID 1, such as the command of a container, this program has to reap the orphans of its hooks,
// or they stay zombies. wait4(-1) would also reap the children that os/exec waits for. But the
// kernel makes orphans children of the main thread of PID 1 (find_new_reaper in kernel/exit.c), and
// __WNOTHREAD (wait(2)) restricts wait4 to children of the calling thread. So the main thread
// starts no process, and waits for its own children only.
func init() {
	if os.Getpid() == 1 {
		runtime.LockOSThread() // during init the main goroutine is on the main thread
	}
}

// runAsInit runs program on threads other than the main one, which reaps orphans meanwhile. It
// returns the result of program.
func runAsInit(program func() int) int {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	code := make(chan int, 1)
	go func() { code <- program() }()
	for {
		reapOrphans()
		select {
		case <-ended:
		case c := <-code:
			return c
		}
	}
}

// reapOrphans reaps the children of this thread that have ended.
func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WNOTHREAD, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
