package sandbox

import "golang.org/x/sys/unix"

const (
	auditArchitecture = unix.AUDIT_ARCH_ARM
	otherABI          = 1 << 31 // none
)

// refusedHere returns those of refusedCalls that not all architectures have.
func refusedHere() []uint32 {
	return []uint32{
		unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_SETUID32, unix.SYS_SETREUID32, unix.SYS_SETRESUID32, unix.SYS_SETFSUID32,
		unix.SYS_SETGID32, unix.SYS_SETREGID32, unix.SYS_SETRESGID32, unix.SYS_SETFSGID32,
		unix.SYS_SETGROUPS32,
		unix.SYS_INOTIFY_INIT, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIMES,
		unix.SYS_FUTIMESAT, unix.SYS_UTIMENSAT_TIME64,
		unix.SYS_CHOWN32, unix.SYS_LCHOWN32, unix.SYS_FCHOWN32,
	}
}
