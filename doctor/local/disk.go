package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/doctor"
	"tunnel/journal"
)

const checkState = "state"

// leastRoom is what must be free on a disk, in bytes: files are replaced by copies.
const leastRoom = 1 << 20

// disk examines the directories of the program's files.
func (m Machine) disk(context.Context) []doctor.Finding {
	found := directory(checkState, m.State)
	run := journal.SystemDir
	if dirs, err := journal.Dirs(); err == nil && len(dirs) > 0 {
		run = dirs[0]
	} else if err != nil {
		return append(found, failed("journal", doctor.NotWritable, err)...)
	} else if os.Geteuid() != 0 {
		return found // it may be made anywhere
	}
	return append(found, directory("journal", run)...)
}

// directory examines a directory, or what would hold it if there is none yet.
func directory(check, dir string) []doctor.Finding {
	at, exists := dir, true
	for {
		info, err := os.Stat(at)
		if err == nil && info.IsDir() {
			break
		}
		if err == nil {
			return bad(check, doctor.NotWritable, true, at+" is not a directory", "move it away")
		}
		if parent := filepath.Dir(at); !os.IsNotExist(err) || parent == at {
			return failed(check, doctor.NotWritable, err)
		}
		at, exists = filepath.Dir(at), false
	}
	if err := mayWrite(at); err != nil {
		return failed(check, doctor.NotWritable, err)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(at, &system); err != nil {
		return failed(check, doctor.NotWritable, &os.PathError{Op: "statfs", Path: at, Err: err})
	}
	free := system.Bavail * uint64(system.Bsize)
	switch {
	case system.Blocks > 0 && free < leastRoom:
		return bad(check, doctor.DiskFull, true, fmt.Sprintf("the disk of %s is full: %d KiB are free",
			dir, free>>10), "make room on it")
	case system.Files > 0 && system.Ffree == 0:
		return bad(check, doctor.DiskFull, true, "the disk of "+dir+" has no inode left",
			"delete files on it")
	}
	text := dir
	if !exists {
		text += ", which does not exist yet"
	}
	if pids := lockers(at); exists && check == checkState && len(pids) > 0 {
		text += ", in use by a running instance (pid " + strings.Join(pids, ", ") + ")"
	}
	return ok(check, "%s, %d MiB free", text, free>>20)
}

// lockers returns the processes that hold locks on files in a directory, as the kernel lists them
// in /proc/locks: "1: FLOCK ADVISORY WRITE 708 08:01:262 0 EOF".
func lockers(dir string) (pids []string) {
	inodes := map[string]bool{}
	entries, _ := os.ReadDir(dir) // without it nothing is known
	for _, entry := range entries {
		var info unix.Stat_t
		if unix.Lstat(filepath.Join(dir, entry.Name()), &info) == nil {
			inodes[fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(info.Dev)), //nolint:unconvert // 32 bits on some machines
				unix.Minor(uint64(info.Dev)), info.Ino)] = true //nolint:unconvert // as above
		}
	}
	file, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" || !inodes[f[5]] || seen[f[4]] {
			continue
		}
		seen[f[4]] = true
		if _, err := strconv.Atoi(f[4]); err == nil {
			pids = append(pids, f[4])
		}
	}
	return pids
}
