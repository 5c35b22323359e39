package ipcmd

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// begin is cmd.Start for a child that no signal ends or stops but SIGKILL and SIGSTOP. Signals to the
// group of this process ask it to undo its changes, and the child is what does that. A process group of
// its own is not enough: a signal may come before the child has it. A child inherits the signals that
// are blocked on the thread that starts it (sigprocmask(2), execve(2)).
func begin(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }() // that mask was in force
	return cmd.Start()
}
