package cmdrun

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// start is cmd.Start for a child that no signal ends or stops but SIGKILL and SIGSTOP: a signal to
// the process group, such as a terminal's Ctrl-C, asks this process to undo its changes, and the
// child is what does that. A process group of its own would not be enough, because a signal may
// come before the child has it. A child inherits the signals that are blocked on the thread that
// starts it (sigprocmask(2), execve(2)).
func start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	// that mask was in force
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	return cmd.Start()
}

// attributes makes a child end with this process: one that outlived a SIGKILL would make its change
// after the next run, or Cleanup, had looked for it. It makes a child of a process that is not root
// inherit CAP_NET_ADMIN, which a file capability alone does not pass on.
func attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 && netAdminPermitted() {
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	// as root the kernel gives it; without it look-ups still work, and changes fail with a clear
	// text
	return attr
}

func netAdminPermitted() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return false
	}
	return sets[0].Permitted&(1<<unix.CAP_NET_ADMIN) != 0
}
