package journal

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// SystemDir is where journals lie when this process can write there.
const SystemDir = "/run/tunnel"

// Dir returns the directory for journals, created if need be with mode 0700: SystemDir, or for a
// process that may not write there, tunnel in $XDG_RUNTIME_DIR, the directory that root has made
// for its user, SystemDir-UID, or for root of a user namespace .local/state/tunnel/run in $HOME.
// One that another user has, or may write to, is not taken: for root that of SystemDir is an
// ErrForeign. Where one of them is root's and sticky, as Docker's --tmpfs makes it, it is the
// directory UID in it. The error is a *Error.
func Dir() (string, error) { return firstUsable(candidates()) }

// Dirs returns those of the directories where Dir may have put journals that this
// process can read. The error is Dir's ErrForeign.
func Dirs() ([]string, error) { return readable(candidates()) }

func readable(candidates []string) ([]string, error) {
	var dirs []string
	for i, dir := range candidates {
		dir = ownPart(dir)
		err := accessible(dir)
		if err == nil {
			dirs = append(dirs, dir)
		}
		if i == 0 && isTakeover(err) {
			return nil, err
		}
	}
	return dirs, nil
}

// isTakeover reports whether accessible's err about SystemDir says that root must not go on:
// another user has it. To other users it is one of several directories, and to root an inherited
// $XDG_RUNTIME_DIR is.
func isTakeover(err error) bool {
	return errors.Is(err, ErrForeign) && os.Geteuid() == 0 && !InUserNamespace()
}

func candidates() []string {
	dirs := []string{SystemDir}
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		dirs = append(dirs, filepath.Join(runtime, "tunnel"))
	}
	switch home := os.Getenv("HOME"); {
	case os.Geteuid() != 0:
		dirs = append(dirs, SystemDir+"-"+strconv.Itoa(os.Geteuid()))
	case filepath.IsAbs(home) && InUserNamespace():
		dirs = append(dirs, filepath.Join(home, ".local", "state", "tunnel", "run"))
	}
	return dirs
}

// InUserNamespace reports whether this process is root of a user namespace only, to which root's
// files may belong to another user (user_namespaces(7)), as after `unshare -r` and in a rootless
// container.
func InUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map") // missing in a kernel without user namespaces
	first := strings.Fields(string(text))          // inside, outside, length
	return os.Geteuid() == 0 && err == nil && len(first) > 1 && first[1] != "0"
}

func firstUsable(dirs []string) (string, error) {
	var failures error
	for i, dir := range dirs {
		usable, err := prepare(dir)
		if err == nil {
			return usable, nil
		}
		if i == 0 && isTakeover(err) {
			return "", err
		}
		if failures == nil {
			failures = err
		} else {
			failures = fmt.Errorf("%w; %w", failures, err)
		}
	}
	err := fmt.Errorf("no directory for the journal (%w)", failures)
	advice := adviceFor(dirs[0], err)
	switch {
	case advice != "":
	case os.Geteuid() != 0: // root's directory is root's; that of a user is the last
		advice = makeAdvice(dirs[len(dirs)-1])
	case InUserNamespace():
		advice = "set HOME or XDG_RUNTIME_DIR to a directory of your own"
	default:
		advice = makeAdvice(dirs[0])
	}
	return "", &Error{Err: err, Advice: advice}
}

// makeAdvice says how to make dir for this process's user. What has its name already, and is no
// directory, is moved.
func makeAdvice(dir string) string {
	advice := sudo() + "install -d -m 700 -o " + userName() + " " + dir
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		advice = sudo() + "mv " + dir + " " + dir + ".old && " + advice
	}
	return advice
}

// sudo begins a command for root: a container, where all are root, often has no sudo.
func sudo() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "sudo "
}

// prepare makes dir if need be, and returns the directory for journals: dir, or a part of it.
func prepare(dir string) (string, error) {
	// MkdirAll is for a home. Above the other candidates nothing must be missing, or it is not
	// theirs.
	mkdir := os.Mkdir
	if filepath.Base(dir) == "run" {
		mkdir = os.MkdirAll
	}
	if err := mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	part := ownPart(dir)
	if part != dir {
		if err := os.Mkdir(part, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	return part, accessible(part)
}

// ownPart returns dir, or the directory of this process's user in it where dir is root's and others
// may write to it, but it is sticky: there only root and the user can rename or delete that one
// (S_ISVTX in inode(7)). Another user may have made it first; accessible then refuses it.
func ownPart(dir string) string {
	var info unix.Stat_t
	err := unix.Lstat(dir, &info)
	if err == nil && info.Uid == 0 && info.Mode&unix.S_IFMT == unix.S_IFDIR &&
		info.Mode&unix.S_ISVTX != 0 && info.Mode&0o022 != 0 {
		return filepath.Join(dir, strconv.Itoa(os.Geteuid()))
	}
	return dir
}

// accessible makes sure that dir is a directory in which this process can list, create and delete
// files, and no other user but root: any other could delete journals.
func accessible(dir string) error {
	var info unix.Stat_t
	if err := unix.Lstat(dir, &info); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	uid, isDir := int(info.Uid), info.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case uid != 0 && uid != os.Geteuid() && !isDir:
		return foreign(dir, info, "delete it")
	case !isDir:
		return &os.PathError{Op: "use", Path: dir, Err: unix.ENOTDIR}
	case uid != 0 && uid != os.Geteuid(), info.Mode&0o022 != 0:
		return foreign(dir, info, fmt.Sprintf("%[3]schown %[1]s %[2]s && %[3]schmod 700 %[2]s",
			userName(), dir, sudo()))
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK,
		unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write in", Path: dir, Err: err}
	}
	return nil
}

// foreign returns the ErrForeign of a directory for journals that another user has or may write to.
func foreign(dir string, info unix.Stat_t, advice string) error {
	err := fmt.Errorf("journal directory %s: %w alone (uid %d, mode %04o)", dir, ErrForeign,
		info.Uid, info.Mode&0o7777)
	return &Error{Err: err, Advice: advice}
}

func userName() string {
	if current, err := user.Current(); err == nil && current.Username != "" {
		return current.Username
	}
	return strconv.Itoa(os.Geteuid())
}

// key tells network namespaces apart, now and across boots.
type key struct {
	boot      string // 12 hexadecimal digits of the boot id
	namespace string // c and the namespace's cookie, or on kernels before 5.14, i and its inode
}

func (k key) file(dev string) string { return k.boot + "-" + k.namespace + "-" + dev + Suffix }

// fileName takes the name of a journal apart: boot, namespace, device.
func fileName(name string) (key, string, bool) {
	parts := regexp.MustCompile(`^([0-9a-f]{12})-([ci][0-9]+)-(.+)\.json$`).FindStringSubmatch(name)
	if parts == nil || rtnl.CheckName(parts[3]) != nil {
		return key{}, "", false
	}
	return key{boot: parts[1], namespace: parts[2]}, parts[3], true
}

// currentKey returns the key of the calling thread's network namespace.
func currentKey() (key, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return key{}, fmt.Errorf("read the boot id: %w", err)
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(boot)), "-", "")
	if len(digits) < 12 {
		return key{}, fmt.Errorf("read the boot id: %q is too short", digits)
	}
	namespace, err := namespaceID()
	if err != nil {
		return key{}, fmt.Errorf("tell the network namespace: %w", err)
	}
	return key{boot: digits[:12], namespace: namespace}, nil
}

func namespaceID() (string, error) {
	if cookie, err := namespaceCookie(); err == nil {
		return "c" + strconv.FormatUint(cookie, 10), nil
	}
	// An inode is given to another namespace once this one is gone, so the cookie is better where
	// there is one.
	var info unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &info); err != nil {
		return "", err
	}
	return "i" + strconv.FormatUint(info.Ino, 10), nil
}

func namespaceCookie() (uint64, error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie, errors.Join(err, unix.Close(socket))
}
