package netwatch

import (
	"os"
	"time"
)

// How soon a change of a file is noticed.
const (
	fileInterval = 5 * time.Second
	// a DHCP client writes them about when it sets addresses and routes
	fileSettle = 500 * time.Millisecond
)

// files are checked periodically: inotify does not follow the links and bind mounts by which these
// files are often replaced.
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

// hasten makes the next check come soon.
func (f *files) hasten(now time.Time) {
	if soon := now.Add(fileSettle); soon.Before(f.due) {
		f.due = soon
	}
}

// changed reports whether a file was replaced, or has other times or another size, since the last
// check. It checks when that is due.
func (f *files) changed(now time.Time) bool {
	if now.Before(f.due) {
		return false
	}
	before := f.seen
	f.seen, f.due = f.stat(), now.Add(fileInterval)
	for i, info := range f.seen {
		switch old := before[i]; {
		case info == nil && old == nil:
		case info == nil || old == nil, !os.SameFile(info, old), info.Size() != old.Size(),
			!info.ModTime().Equal(old.ModTime()):
			return true
		}
	}
	return false
}
