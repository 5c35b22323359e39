package journal

import (
	"fmt"
	"os"
	"strings"
)

// A Named is the name of a journal of this network namespace, and where it lies.
type Named struct {
	Dir  string
	Name string // as Journal.Name returns it
	Dev  string
}

// Beside returns the journals whose names files in dirs have before that end, as the sockets of
// their runs do. The runs may have ended, and their journals with them.
func Beside(dirs []string, end string) (all []Named, err error) {
	here, err := currentKey()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list the journals: %w", err)
		}
		for _, file := range files {
			name, found := strings.CutSuffix(file.Name(), end)
			if of, dev, ok := fileName(name + Suffix); found && ok && of == here {
				all = append(all, Named{Dir: dir, Name: name, Dev: dev})
			}
		}
	}
	return all, nil
}
