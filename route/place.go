package route

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
)

// SystemDir is where journals lie when this process can write there.
const SystemDir = "/run/tunnel"

// JournalDir returns the directory for journals, created if need be with mode 0700: SystemDir, or for a process that
// may not write there, tunnel in $XDG_RUNTIME_DIR, or the directory that root has made for its user, SystemDir-UID. One
// that another user has, or may write to, is not taken; for root the error is then an ErrForeign. It says what to do.
func JournalDir() (string, error) { return firstUsable(candidates()) }

// JournalDirs returns those of the directories where JournalDir may have put journals that this process can read. The
// error is JournalDir's ErrForeign.
func JournalDirs() ([]string, error) { return readable(candidates()) }

func readable(candidates []string) ([]string, error) {
	var dirs []string
	for i, dir := range candidates {
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

// isTakeover reports whether accessible's err about SystemDir says that root must not go on: another user has it. To
// other users it is one of several directories, and to root an inherited $XDG_RUNTIME_DIR is.
func isTakeover(err error) bool { return errors.Is(err, ErrForeign) && os.Geteuid() == 0 }

func candidates() []string {
	dirs := []string{SystemDir}
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		dirs = append(dirs, filepath.Join(runtime, "tunnel"))
	}
	if uid := os.Geteuid(); uid != 0 {
		dirs = append(dirs, SystemDir+"-"+strconv.Itoa(uid))
	}
	return dirs
}

func firstUsable(dirs []string) (string, error) {
	var failures []error
	for i, dir := range dirs {
		err := usable(dir)
		if err == nil {
			return dir, nil
		}
		if i == 0 && isTakeover(err) {
			return "", err
		}
		failures = append(failures, err)
	}
	// Root's directory is root's; that of a user is the last.
	mine := dirs[0]
	if os.Geteuid() != 0 {
		mine = dirs[len(dirs)-1]
	}
	return "", fmt.Errorf("no directory for the journal (%s): sudo install -d -m 700 -o %s %s",
		strings.ReplaceAll(errors.Join(failures...).Error(), "\n", "; "), userName(), mine)
}

// usable makes sure that dir is a directory in which this process can create files.
func usable(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return accessible(dir)
}

// accessible makes sure that dir is a directory in which this process can list, create and delete files, and nobody else
// but root: whoever else can deletes journals.
func accessible(dir string) error {
	var info unix.Stat_t
	if err := unix.Lstat(dir, &info); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &os.PathError{Op: "use", Path: dir, Err: unix.ENOTDIR}
	}
	if uid := int(info.Uid); uid != 0 && uid != os.Geteuid() || info.Mode&0o022 != 0 {
		return fmt.Errorf("journal directory %s: %w alone (uid %d, mode %04o): sudo chown %s %[1]s && sudo chmod 700 %[1]s",
			dir, ErrForeign, uid, info.Mode&0o7777, userName())
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write in", Path: dir, Err: err}
	}
	return nil
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

func (k key) file(dev string) string { return k.boot + "-" + k.namespace + "-" + dev + ".json" }

// fileName takes the name of a journal apart: boot, namespace, device.
func fileName(name string) (key, string, bool) {
	parts := regexp.MustCompile(`^([0-9a-f]{12})-([ci][0-9]+)-(.+)\.json$`).FindStringSubmatch(name)
	if parts == nil || checkDev(parts[3]) != nil {
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
	// An inode is given to another namespace once this one is gone, so the cookie is better where there is one.
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
