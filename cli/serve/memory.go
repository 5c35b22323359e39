package serve

import (
	"math"
	"runtime/debug"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"tunnel/config"
)

const (
	// memoryShare divides the machine's memory: a hub uses that part without --max-memory.
	memoryShare = 4
	// most32 bounds it with 32-bit addresses.
	most32 = 1 << 30
)

// serveMemory returns the bytes of memory that the hub may use: those of --max-memory, or for 0 a
// part of the machine's or cgroup's memory, whichever is less. A smaller GOMEMLIMIT counts in any
// case.
func serveMemory(told int64) int64 {
	if told == 0 {
		told = defaultMemory()
	}
	return max(min(told, debug.SetMemoryLimit(-1)), config.LeastMemory)
}

// defaultMemory returns the hub's part of the available memory.
func defaultMemory() int64 {
	n, err := memlimit.FromSystem()
	if limit, cgroupErr := memlimit.FromCgroup(); cgroupErr == nil && (err != nil || limit < n) {
		n, err = limit, nil
	}
	if err != nil || n > math.MaxInt64 {
		return config.LeastMemory // the kernel does not report it
	}
	if share := int64(n / memoryShare); strconv.IntSize > 32 || share < most32 {
		return share
	}
	return most32
}

// limitMemory makes the runtime collect garbage early enough for the program to stay below n bytes.
// The runtime does not count the program's code, and exceeds its limit by what is allocated during
// a collection. A GOMEMLIMIT of the user stays.
func limitMemory(n int64) {
	const margin = 8
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(n - n/margin)
	}
}
