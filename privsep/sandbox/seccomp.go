package sandbox

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// refusedCalls returns the system calls that the worker has no use for, and one that was broken
// into would have. It is a deny list, because what the Go runtime and the C library call changes
// with their versions, and none of them calls these after the sandbox is entered.
func refusedCalls() []uint32 {
	return append(refusedHere(),
		// Programs and processes of its own, which would outlive the parent: see also clone.
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_MEMFD_CREATE,
		// Namespaces, and mounts in them.
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT,
		unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
		// Other processes.
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
		// Memory, semaphores and messages that outlive the process, and those of others.
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMCTL,
		unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
		unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
		// The keyrings of the process that has started the program.
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		// Large interfaces of the kernel, in which most of its own faults were found.
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		// Another user.
		unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETRESUID, unix.SYS_SETFSUID,
		unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETRESGID, unix.SYS_SETFSGID,
		unix.SYS_SETGROUPS,
		// The machine.
		unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
		unix.SYS_QUOTACTL_FD, unix.SYS_PERSONALITY, unix.SYS_OPEN_BY_HANDLE_AT,
		// What landlock does not know: the names and the attributes of files that the worker cannot
		// open. Fchmod, of an open file, stays: the program calls it.
		unix.SYS_INOTIFY_INIT1, unix.SYS_FANOTIFY_INIT,
		unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
		unix.SYS_UTIMENSAT, unix.SYS_FILE_SETATTR, unix.SYS_FILE_GETATTR,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
		unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
		unix.SYS_REMOVEXATTRAT,
		unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR, unix.SYS_GETXATTRAT,
		unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR, unix.SYS_LISTXATTRAT,
	)
}

// refusedArguments returns what a call that is allowed must not be asked for.
func refusedArguments() []refusedArgument {
	all := []refusedArgument{
		{unix.SYS_IOCTL, 1, []uint32{
			// Type into a terminal, or take it over.
			unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSCTTY,
			// Leave the device behind.
			unix.TUNSETPERSIST, unix.TUNSETOWNER, unix.TUNSETGROUP,
		}},
		// Outlive the parent; be read by others of the same user.
		{unix.SYS_PRCTL, 0, []uint32{unix.PR_SET_PDEATHSIG, unix.PR_SET_DUMPABLE}},
	}
	// The ends of a pair can be bound too. Only datagram sockets, for which SOCK_RAW is another
	// word (unix_create), can then get anything from others: the rest stays connected.
	datagrams := refusedArgument{unix.SYS_SOCKETPAIR, 1, nil}
	for _, kind := range []uint32{unix.SOCK_DGRAM, unix.SOCK_RAW} {
		for _, flags := range []uint32{0, unix.SOCK_CLOEXEC, unix.SOCK_NONBLOCK,
			unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK} {
			datagrams.values = append(datagrams.values, kind|flags)
		}
	}
	return append(all, datagrams)
}

type refusedArgument struct {
	call   uint32
	index  uint32   // of the argument, from 0
	values []uint32 // all these arguments are int in the kernel: the upper half does not count
}

// refuseSockets returns the part of the filter about socket(2): a worker needs no Unix socket that
// it has not made before, and a client's none of NETLINK_NETFILTER, by which it could delete a kill
// switch's table.
func refuseSockets(s Limits, refuse, allow bpf.Instruction) []bpf.Instruction {
	netfilter := refuse
	if s.Serve {
		netfilter = allow
	}
	then := []bpf.Instruction{
		bpf.LoadAbsolute{Off: low(0), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_UNIX, SkipTrue: 1}, refuse,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_NETLINK, SkipTrue: 3},
		bpf.LoadAbsolute{Off: low(2), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.NETLINK_NETFILTER, SkipTrue: 1}, netfilter,
		allow,
	}
	test := bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKET, SkipFalse: uint8(len(then))}
	return append([]bpf.Instruction{test}, then...)
}

// newNamespaces are the flags of clone(2) that make one.
const newNamespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET |
	unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	offsetCall         = 0
	offsetArchitecture = 4
	offsetArguments    = 16
)

// low returns the offset of the lower half of an argument, counted from 0.
func low(index uint32) uint32 {
	offset := offsetArguments + 8*index
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		offset += 4
	}
	return offset
}

// filter returns the program that the kernel runs for each system call (seccomp(2)). Which numbers
// it always allows the kernel works out once (since 5.11), so that reading and writing cost
// nothing.
func filter(s Limits) ([]bpf.RawInstruction, error) {
	load := func(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }
	ifEqual := func(value uint32, then ...bpf.Instruction) []bpf.Instruction {
		test := bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: uint8(len(then))}
		return append([]bpf.Instruction{test}, then...)
	}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	refuse := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	unknown := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}

	// The same number is another call for another architecture, or in the x32 ABI.
	program := []bpf.Instruction{
		load(offsetArchitecture),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArchitecture, SkipTrue: 1}, unknown,
		load(offsetCall),
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: otherABI, SkipFalse: 1}, unknown,
	}
	// Its flags are in memory, which a filter cannot read. The C library falls back to clone.
	program = append(program, ifEqual(unix.SYS_CLONE3, unknown)...)
	for _, call := range refusedCalls() {
		program = append(program, ifEqual(call, refuse)...)
	}
	for _, r := range refusedArguments() {
		then := []bpf.Instruction{load(low(r.index))}
		for _, value := range r.values {
			then = append(then, ifEqual(value, refuse)...)
		}
		program = append(program, ifEqual(r.call, append(then, allow)...)...)
	}
	program = append(program, refuseSockets(s, refuse, allow)...)
	program = append(program, ifEqual(unix.SYS_CLONE,
		load(low(0)),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1}, refuse,
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipTrue: 1}, refuse,
	)...)
	return bpf.Assemble(append(program, allow))
}

// restrictCalls refuses, for good and to all threads, the system calls that the worker has no use
// for. The caller has set no_new_privs.
func restrictCalls(s Limits, log *slog.Logger) error {
	const less = "this kernel has no seccomp filter for this program: the worker may start processes"
	if auditArchitecture == 0 {
		log.Warn(less, "architecture", runtime.GOARCH)
		return nil
	}
	raw, err := filter(s)
	if err != nil {
		return fmt.Errorf("assemble the seccomp filter: %w", err)
	}
	code := make([]unix.SockFilter, 0, len(raw))
	for _, r := range raw {
		code = append(code, unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K})
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	// Before 5.16 a filter switches speculation off, which costs throughput and protects only a
	// process from code of its own. Before 4.17 it does not, and there is no flag.
	var thread uintptr
	var e syscall.Errno
	const all = unix.SECCOMP_FILTER_FLAG_TSYNC
	for _, flags := range []uintptr{all | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, all} {
		thread, _, e = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
			uintptr(unsafe.Pointer(&program)))
		if e != unix.EINVAL {
			break
		}
	}
	runtime.KeepAlive(&program)
	switch {
	case e == unix.ENOSYS || e == unix.EINVAL || e == unix.EPERM:
		// the last by a container's filter
		log.Warn(less, "err", e)
		return nil
	case e != 0:
		return fmt.Errorf("enter the seccomp filter: %w", e)
	case thread != 0:
		return fmt.Errorf("enter the seccomp filter: thread %d has another one", thread)
	}
	return nil
}
