package cli

import (
	"math"
	"runtime/debug"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"tunnel/config"
)

const (
	// memoryShare is the part of the machine's memory, as a divisor, that a hub takes without --max-memory.
	memoryShare = 4
	// most32 is the most without --max-memory where addresses have 32 bits.
	most32 = 1 << 30
)

// serveMemory returns the bytes of memory that the hub may take: those of --max-memory, or for 0 a part of the least of the
// machine's, the cgroup's and GOMEMLIMIT's. A smaller GOMEMLIMIT of the user counts in any case.
func serveMemory(told int64) int64 {
	if told == 0 {
		told = defaultMemory()
	}
	return max(min(told, debug.SetMemoryLimit(-1)), config.LeastMemory)
}

// defaultMemory returns memoryShare of the memory that there is.
func defaultMemory() int64 {
	n, err := memlimit.FromSystem()
	if limit, cgroupErr := memlimit.FromCgroup(); cgroupErr == nil && (err != nil || limit < n) {
		n, err = limit, nil
	}
	if err != nil || n > math.MaxInt64 {
		return config.LeastMemory // a kernel that does not tell
	}
	if share := int64(n / memoryShare); strconv.IntSize > 32 || share < most32 {
		return share
	}
	return most32
}

// limitMemory has the runtime collect garbage in time for the program to keep within n bytes. The
// runtime does not count the program's own code, and exceeds its limit by what is allocated while
// it collects. A GOMEMLIMIT that the user has set stays.
func limitMemory(n int64) {
	const margin = 8
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(n - n/margin)
	}
}
