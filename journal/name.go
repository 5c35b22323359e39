package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"tunnel/atomicfile"
)

// Suffix ends the name of a journal's file.
const Suffix = ".json"

// Name returns what tells this journal from others in Dirs: boot, network namespace and device. It
// is "" for a nil *Journal.
func (j *Journal) Name() string {
	if j == nil {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(j.path), Suffix)
}

// NameFor returns the Name of the journal of the device dev in the calling thread's network
// namespace.
func NameFor(dev string) (string, error) {
	here, err := currentKey()
	return strings.TrimSuffix(here.file(dev), Suffix), err
}

// IsName reports whether name may be that of a journal of the device dev.
func IsName(name, dev string) bool {
	_, of, ok := fileName(name + Suffix)
	return ok && of == dev
}

// Held reports whether a live run holds the journal of that name in one of Dirs, and thus owns what
// bears the name. Nobody holds one that is no journal's.
func Held(name string) (bool, error) {
	if _, _, ok := fileName(name + Suffix); !ok {
		return false, nil
	}
	dirs, err := Dirs()
	if err != nil {
		return false, err
	}
	for _, dir := range dirs {
		file, err := atomicfile.Lock(filepath.Join(dir, name+Suffix), 0, 0)
		switch {
		case errors.Is(err, atomicfile.ErrLocked):
			return true, nil
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return false, err
		}
		if err := file.Close(); err != nil {
			return false, err
		}
	}
	return false, nil
}
