package privsep

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// passSignals gives the worker, which is in no terminal's session, what a person sends to this
// process and means both: SIGQUIT, by which Go says what a program is doing, and what stops a job
// of a shell (Ctrl-Z) and continues it.
func passSignals(worker *os.Process) (stop func()) {
	passed := []os.Signal{syscall.SIGQUIT, syscall.SIGCONT}
	// Without a shell above that has jobs, nobody would continue what is stopped.
	if session, err := unix.Getsid(0); err == nil && session != unix.Getpgrp() &&
		!signal.Ignored(syscall.SIGTSTP) {
		passed = append(passed, syscall.SIGTSTP)
	}
	signals := make(chan os.Signal, len(passed))
	signal.Notify(signals, passed...)
	go func() {
		for s := range signals {
			if s != syscall.SIGTSTP {
				_ = worker.Signal(s) // it may have ended
				continue
			}
			_ = worker.Signal(syscall.SIGSTOP)
			// what SIGTSTP does to one that does not catch it
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}
