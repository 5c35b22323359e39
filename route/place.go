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
// may not write there, tunnel in $XDG_RUNTIME_DIR. The error says what to do.
func JournalDir() (string, error) { return firstUsable(candidates()) }

// JournalDirs returns those of the directories where JournalDir may have put journals that this process can read.
func JournalDirs() []string {
	var dirs []string
	for _, dir := range candidates() {
		if accessible(dir) == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func candidates() []string {
	dirs := []string{SystemDir}
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		dirs = append(dirs, filepath.Join(runtime, "tunnel"))
	}
	return dirs
}

func firstUsable(dirs []string) (string, error) {
	var failures []error
	for _, dir := range dirs {
		err := usable(dir)
		if err == nil {
			return dir, nil
		}
		failures = append(failures, err)
	}
	return "", fmt.Errorf("no directory for the journal (%s): sudo install -d -m 700 -o %s %s",
		strings.ReplaceAll(errors.Join(failures...).Error(), "\n", "; "), userName(), dirs[0])
}

// usable makes sure that dir is a directory in which this process can create files.
func usable(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return accessible(dir)
}

// accessible makes sure that dir is a directory in which this process can list, create and delete files.
func accessible(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "use", Path: dir, Err: unix.ENOTDIR}
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
