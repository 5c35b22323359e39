package ipcmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes makes a child end with this process: one that outlived a SIGKILL would make its change after the next run,
// or Cleanup, had looked for it. It makes a child of a process that is not root inherit CAP_NET_ADMIN, which a file
// capability alone does not pass on. It gives the child a process group of its own: a signal to the whole group of this
// process, such as a terminal's Ctrl-C, asks this process to end in order, and must not end what undoes.
func attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() != 0 && netAdminPermitted() {
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return attr // as root the kernel gives it; without it look-ups still work, and changes fail with a clear text
}

func netAdminPermitted() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return false
	}
	return sets[0].Permitted&(1<<unix.CAP_NET_ADMIN) != 0
}

// findIP returns the path of ip, or an error that wraps exec.ErrNotFound.
func findIP() (string, error) {
	if !SecureMode() {
		return exec.LookPath("ip")
	}
	// The program's file gives more rights than its caller has, so the caller's PATH must not choose what gets them.
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"} {
		path := filepath.Join(dir, "ip")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("look for ip in the system's directories: %w", exec.ErrNotFound)
}

// SecureMode reports whether the kernel set AT_SECURE: file capabilities or set-uid gave this process its rights.
func SecureMode() bool {
	const atSecure = 23
	vector, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, item := range vector {
		if item[0] == atSecure {
			return item[1] != 0
		}
	}
	return false
}
