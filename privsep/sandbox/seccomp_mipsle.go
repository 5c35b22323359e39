package sandbox

import "golang.org/x/sys/unix"

const (
	auditArchitecture = unix.AUDIT_ARCH_MIPSEL
	otherABI          = 1 << 31 // none
)

// refusedHere returns those of refusedCalls that not all architectures have.
func refusedHere() []uint32 {
	return []uint32{
		unix.SYS_FORK, unix.SYS_UMOUNT, unix.SYS_IPC,
		unix.SYS_SOCKETCALL, // its arguments are in memory
		unix.SYS_INOTIFY_INIT, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME,
		unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_UTIMENSAT_TIME64,
	}
}
