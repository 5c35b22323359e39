package netwatch

import (
	"os"
	"time"
)

// How soon a change of a file is noticed.
const (
	fileInterval = 5 * time.Second
	fileSettle   = 500 * time.Millisecond // a DHCP client writes them around the time at which it sets addresses and routes
)

// files are looked at now and then: inotify does not follow links and bind mounts, by which these files are often replaced.
type files struct {
	paths []string
	seen  []os.FileInfo // by path; nil if it cannot be looked at
	due   time.Time     // when to look next
}

func newFiles(paths []string, now time.Time) *files {
	f := &files{paths: paths, due: now.Add(fileInterval)}
	f.seen = f.stat()
	return f
}

func (f *files) stat() []os.FileInfo {
	all := make([]os.FileInfo, len(f.paths))
	for i, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			all[i] = info
		}
	}
	return all
}

// hasten has the next look come soon.
func (f *files) hasten(now time.Time) {
	if soon := now.Add(fileSettle); soon.Before(f.due) {
		f.due = soon
	}
}

// changed reports whether a file is another one than at the last look, or has other times or another size. It looks when that
// is due.
func (f *files) changed(now time.Time) bool {
	if now.Before(f.due) {
		return false
	}
	before := f.seen
	f.seen, f.due = f.stat(), now.Add(fileInterval)
	for i, info := range f.seen {
		switch old := before[i]; {
		case info == nil && old == nil:
		case info == nil || old == nil, !os.SameFile(info, old), info.Size() != old.Size(), !info.ModTime().Equal(old.ModTime()):
			return true
		}
	}
	return false
}
