// Package sandbox takes from a process, for good, what a worker has no use for: its user,
// capabilities, files and system calls.
package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// lastCapability is well beyond what kernels know: the first that one does not know ends the loop.
const lastCapability = 63

// Drop makes the process the user u, in no other group, for good: with CAP_NET_ADMIN alone, without
// any other in the bounding set, without a way to more (no_new_privs), closed to debuggers, and
// ending with the process that has started it. It is about all threads, for which the kernel has no
// call (psx).
func Drop(u User) error {
	for c := uintptr(0); c <= lastCapability; c++ {
		if c == unix.CAP_NET_ADMIN {
			continue
		}
		if err := prctl(unix.PR_CAPBSET_DROP, c); errors.Is(err, unix.EINVAL) {
			break
		} else if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	if err := prctl(unix.PR_SET_KEEPCAPS, 1); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := Become(u); err != nil {
		return err
	}
	if err := keep(1 << unix.CAP_NET_ADMIN); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return errors.Join(
		named("no_new_privs", prctl(unix.PR_SET_NO_NEW_PRIVS, 1)),
		named("not dumpable", prctl(unix.PR_SET_DUMPABLE, 0)),
		// The kernel has forgotten it with the change of the user (prctl(2)).
		named("end with the parent", prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))),
	)
}

// Become makes the process the user u, in no other group. Without more, it has no capabilities
// after that.
func Become(u User) error {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(u.GID, u.GID, u.GID),
		syscall.Setresuid(u.UID, u.UID, u.UID)); err != nil {
		return fmt.Errorf("become the user of %s (%d:%d): %w", u.Name, u.UID, u.GID, err)
	}
	return nil
}

// As calls f while root acts as the user u, with that user's access to files and no capability.
func As(u User, f func() error) (err error) {
	groups, err := syscall.Getgroups()
	if err != nil {
		return fmt.Errorf("act as the user of %s: %w", u.Name, err)
	}
	defer func() {
		err = errors.Join(err, syscall.Setresuid(-1, 0, -1), syscall.Setresgid(-1, 0, -1),
			syscall.Setgroups(groups))
	}()
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(-1, u.GID, -1),
		syscall.Setresuid(-1, u.UID, -1)); err != nil {
		return fmt.Errorf("act as the user of %s (%d:%d): %w", u.Name, u.UID, u.GID, err)
	}
	return f()
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func prctl(option int, arg uintptr) error {
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// keep makes mask the permitted and effective capabilities, and empties the inheritable ones, and
// with them the ambient.
func keep(mask uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]unix.CapUserData{{Effective: mask, Permitted: mask}}
	_, _, e := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)),
		uintptr(unsafe.Pointer(&sets)), 0)
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&sets)
	if e != 0 {
		return e
	}
	return nil
}

// Limits are what a worker may reach beside the files that it has open.
type Limits struct {
	State   string // the directory to write to
	Connect bool   // make TCP connections
	// give Unix sockets that are open names in State, and change connection tracking and nftables
	// (NETLINK_NETFILTER)
	Serve bool
}

// Rights of landlock: nothing to execute.
const (
	readRights  = landlocksys.AccessFSReadFile | landlocksys.AccessFSReadDir
	writeRights = readRights | landlocksys.AccessFSWriteFile | landlocksys.AccessFSTruncate |
		landlocksys.AccessFSRemoveFile | landlocksys.AccessFSMakeReg | landlocksys.AccessFSMakeDir
)

// signalErratum is the bit of landlock's errata (Documentation/userspace-api/landlock.rst) that
// says that threads of one process may signal each other, as the Go runtime wants, although each
// has entered the sandbox by itself.
const signalErratum = 1 << 1

// Confine leaves to the process, for good, what s says and what it reads while it runs: names,
// certificates to trust, the time zone, kernel parameters. Whole directories, for files are
// replaced by rename. It can listen on no TCP port, and reach no process but itself. Of this it
// does as much as the kernel's landlock can.
//
// After that it calls nothing of the kernel that a worker has no use for, as far as there is
// seccomp: it makes no Unix socket either, by which it could connect to services, or let others
// connect by an abstract name.
func Confine(s Limits, log *slog.Logger) error {
	if err := restrictFiles(s, log); err != nil {
		return err
	}
	return restrictCalls(s, log)
}

func restrictFiles(s Limits, log *slog.Logger) error {
	if abi, err := landlocksys.LandlockGetABIVersion(); err != nil || abi < 1 {
		log.Warn("this kernel has no landlock: the worker may read what its user may")
		return nil //nolint:nilerr // it goes on with what there is
	}
	config := landlock.Config{
		HandledAccessFS:  landlock.V9.HandledAccessFS,
		HandledAccessNet: landlocksys.AccessNetBindTCP | landlocksys.AccessNetConnectTCP,
		Scoped:           landlocksys.ScopeAbstractUnixSocket | landlocksys.ScopeSignal,
	}
	if s.Connect {
		config.HandledAccessNet = landlocksys.AccessNetBindTCP
	}
	if errata, err := landlocksys.LandlockGetErrata(); err != nil || errata&signalErratum == 0 {
		config.Scoped = landlocksys.ScopeAbstractUnixSocket
	}
	write := landlock.AccessFSSet(writeRights)
	if s.Serve {
		write |= landlocksys.AccessFSMakeSock
	}
	err := config.BestEffort().Restrict(
		landlock.PathAccess(write, s.State),
		landlock.PathAccess(readRights, readable()...).IgnoreIfMissing(),
	)
	if err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	return nil
}

// readable returns the directories of what the process reads while it runs.
func readable() []string {
	dirs := []string{
		"/etc", "/usr/share/zoneinfo", "/usr/share/ca-certificates",
		"/usr/local/share/ca-certificates",
		"/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
		"/proc/self", "/proc/sys", "/sys/fs/cgroup", "/sys/kernel/mm",
	}
	// Go's crypto/x509 and time read these, and the first two links may lead anywhere.
	files := []string{
		"/etc/resolv.conf", "/etc/localtime", "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
		os.Getenv("SSL_CERT_FILE"),
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("SSL_CERT_DIR"))...)
	for _, file := range files {
		if target, err := filepath.EvalSymlinks(file); file != "" && err == nil &&
			filepath.Dir(target) != "/" {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	return dirs
}
