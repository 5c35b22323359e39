package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// systemdCache keeps a Debian 12 with systemd, and with what the program needs.
const systemdCache = "/var/cache/tunnel-e2e/debian-bookworm-systemd.tar"

// machine is a Debian of its own on the network of a host: real systemd is its first process.
type machine struct {
	t    *testing.T
	host *lab.Host
	proc *lab.Proc
	root string // the directory of its files
	init int    // the process ID of its systemd
}

// Boot a machine in two steps: enter a control group of its own, then have namespaces in which
// that is the root of all groups. systemd takes it for a container. Kernel parameters of the real
// machine are read-only, but those of the network, which the host has for itself.
const (
	enterGroup = `mount --make-rprivate /
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		mkdir "/sys/fs/cgroup/$1"
		echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
		shift
		exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child sh -ec "$@"`
	boot = `root=$1
		mount --bind "$root" "$root"
		cd "$root"
		mount -t proc proc proc
		mount --bind proc/sys proc/sys
		mount -o remount,bind,ro proc/sys
		mount --bind proc/sys/net proc/sys/net
		mount -o remount,bind,rw proc/sys/net
		mount -t sysfs -o ro sysfs sys
		mount -t cgroup2 cgroup2 sys/fs/cgroup
		mount -t tmpfs -o mode=755 tmpfs run
		mount -t tmpfs -o mode=1777 tmpfs tmp
		mount -t tmpfs -o mode=755 tmpfs dev
		mkdir dev/net dev/pts dev/shm
		for node in null zero full random urandom tty; do cp -a "/dev/$node" dev/; done
		cp -a /dev/net/tun dev/net/
		mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
		mount -t tmpfs -o mode=1777 tmpfs dev/shm
		ln -s pts/ptmx dev/ptmx
		ln -s /proc/self/fd dev/fd
		mkdir old
		pivot_root . old
		umount -l old
		rmdir old
		mount --make-rshared /
		exec setpriv --bounding-set -sys_module,-sys_boot,-sys_time,-sys_rawio,-syslog \
			env -i container=e2e PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
			/lib/systemd/systemd --unit=multi-user.target --log-level=info`
)

// bootMachine boots a machine on the network of a host. It is shut down with the test.
func bootMachine(t *testing.T, h *lab.Host) *machine {
	t.Helper()
	if _, err := os.Stat(systemdCache); err != nil {
		if err := makeImage(t.Context(), systemdCache,
			"--include=systemd,iproute2,nftables"); err != nil {
			t.Fatalf("make a Debian with systemd: %v", err)
		}
	}
	dir, err := os.MkdirTemp(engineDirs, "tunnel-machine-") // not in memory
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(dir)
	t.Cleanup(func() {
		eventually(t, "the machine's processes are gone", func() bool {
			groups := []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/unified/" + name}
			return !slices.ContainsFunc(groups, func(group string) bool {
				text, _ := os.ReadFile(filepath.Join(group, "cgroup.events")) // one does not exist
				return strings.Contains(string(text), "populated 1")
			})
		})
		removeCgroups(t, name)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the machine's files: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xf",
		systemdCache).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", systemdCache, err, out)
	}
	m := &machine{t: t, host: h, root: dir}
	m.proc = h.Start("unshare", "--mount", "sh", "-ec", enterGroup, "sh", name, boot, "sh", dir)
	t.Cleanup(m.proc.Kill)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal:\n%s", m.journal())
		}
	})
	within(t, 4*soon, "systemd is up", func() bool {
		if m.proc.Exited() {
			t.Fatalf("the machine did not boot\n%s%s", m.proc.Stdout(), m.proc.Stderr())
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.proc.Pid()))
		m.init, err = strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return false
		}
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.init))
		if filepath.Base(exe) != "systemd" {
			return false
		}
		out, _, _ := m.try("systemctl", "is-active", "multi-user.target")
		return out == "active\n"
	})
	return m
}

// try runs a command in the machine.
func (m *machine) try(argv ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	enter := []string{"nsenter", "--target", strconv.Itoa(m.init), "--mount", "--uts", "--ipc",
		"--net", "--pid", "--cgroup", "--root", "--wd", "--", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=cat"}
	return m.host.TryCommand(m.host.Command(append(enter, argv...)...))
}

// run is try for a command that must succeed. It returns stdout.
func (m *machine) run(argv ...string) string {
	m.t.Helper()
	stdout, stderr, code := m.try(argv...)
	if code != 0 {
		m.t.Fatalf("%s: exit code %d\n%s%s", strings.Join(argv, " "), code, stdout, stderr)
	}
	return stdout
}

// journal returns the end of the machine's log.
func (m *machine) journal(args ...string) string {
	stdout, stderr, _ := m.try(append([]string{"journalctl", "--no-pager", "--lines=5000",
		"--output=short-monotonic"}, args...)...)
	return stdout + stderr
}

// show returns a property of a unit.
func (m *machine) show(unit, property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "--property="+property, unit))
}

// becomes waits until a property of a unit has a value.
func (m *machine) becomes(unit, property, value string) {
	m.t.Helper()
	eventually(m.t, unit+" has "+property+"="+value, func() bool {
		return m.show(unit, property) == value
	})
}

// write writes a file of the machine.
func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// worker returns the process ID, outside of the machine, of the worker of a unit.
func (m *machine) worker(unit string) int {
	m.t.Helper()
	inside := m.show(unit, "MainPID")
	found, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		m.t.Fatal(err)
	}
	parent := 0
	for _, file := range found {
		text, _ := os.ReadFile(file) // it may have ended
		var pid int
		if fields := statusFields(text, "NSpid"); len(fields) == 2 && fields[1] == inside &&
			ns(fields[0]) == ns(strconv.Itoa(m.init)) {
			pid, _ = strconv.Atoi(fields[0])
			parent = pid
		}
	}
	for _, file := range found {
		text, _ := os.ReadFile(file)
		if f := statusFields(text, "PPid"); parent > 0 && len(f) == 1 && f[0] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				return pid
			}
		}
	}
	m.t.Fatalf("%s has no worker", unit)
	return 0
}

// statusFields returns the words of a line of /proc/PID/status.
func statusFields(status []byte, name string) []string {
	for line := range strings.Lines(string(status)) {
		if rest, is := strings.CutPrefix(line, name+":"); is {
			return strings.Fields(rest)
		}
	}
	return nil
}

// ns returns the process namespace of a process.
func ns(pid string) string {
	name, _ := os.Readlink("/proc/" + pid + "/ns/pid")
	return name
}

// makeImage makes a tar file of a minimal Debian 12.
func makeImage(ctx context.Context, file string, flags ...string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, "debootstrap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-ec", `
		file=$1
		shift
		debootstrap --variant=minbase "$@" bookworm root >log 2>&1 || { tail log >&2; exit 1; }
		rm -rf root/var/lib/apt/lists/* root/var/cache/apt/*
		rm -rf root/usr/share/doc/* root/usr/share/man/* root/usr/share/locale/*
		tar -C root -cf base.tar .
		mv base.tar "$file"`, "sh", file}, flags...)...)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w\n%s", err, out)
	}
	return nil
}
