package cli

import (
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/urfave/cli/v2"
)

const flagMaxMemory = "max-memory"

const (
	// leastMemory is the least --max-memory, in bytes: a hub with a few clients takes about half of it.
	leastMemory = 32 << 20
	// memoryShare is the part of the machine's memory, as a divisor, that a hub takes without --max-memory.
	memoryShare = 4
	// most32 is the most without --max-memory where addresses have 32 bits.
	most32 = 1 << 30
)

// serveMemoryFlags returns the flag of serve that bounds its memory.
func serveMemoryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: flagMaxMemory, Category: categoryServer, EnvVars: env(flagMaxMemory), DefaultText: "a quarter of the machine's or the cgroup's, at least 32M",
			Usage: "most memory to take, a `SIZE` like 256M or 1G; half of it is for packets that wait, and the clients that have most waiting lose packets first",
		},
	}
}

// serveMemory returns the bytes of memory that the hub may take: those of --max-memory, or a part of the least of the machine's, the
// cgroup's and GOMEMLIMIT's. A smaller GOMEMLIMIT of the user counts in any case.
func serveMemory(c *cli.Context) (int64, error) {
	chosen := debug.SetMemoryLimit(-1) // GOMEMLIMIT
	text := c.String(flagMaxMemory)
	if text == "" {
		return max(min(defaultMemory(), chosen), leastMemory), nil
	}
	n, err := parseSize(text)
	if err != nil {
		return 0, usage("--%s %s is not a size like 256M or 1G", flagMaxMemory, text)
	}
	if n < leastMemory {
		return 0, usage("--%s %s is too little: give %s at least", flagMaxMemory, text, sizeText(leastMemory))
	}
	if n > math.MaxInt/2 {
		return 0, usage("--%s %s is more than this machine can address", flagMaxMemory, text)
	}
	return max(min(n, chosen), leastMemory), nil
}

// defaultMemory returns memoryShare of the memory that there is.
func defaultMemory() int64 {
	n, err := memlimit.FromSystem()
	if limit, cgroupErr := memlimit.FromCgroup(); cgroupErr == nil && (err != nil || limit < n) {
		n, err = limit, nil
	}
	if err != nil || n > math.MaxInt64 {
		return leastMemory // a kernel that does not tell
	}
	if share := int64(n / memoryShare); strconv.IntSize > 32 || share < most32 {
		return share
	}
	return most32
}

// limitMemory has the runtime collect garbage in time for the program to keep within n bytes. A GOMEMLIMIT that the user has set
// stays.
func limitMemory(n int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(n)
	}
}

// parseSize returns the bytes of a size: a whole number, in bytes or with K, M, G or T for powers of 1024.
func parseSize(text string) (int64, error) {
	const units = "KMGT"
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if unit := strings.IndexByte(units, text[n-1]); unit >= 0 {
			digits, shift = text[:n-1], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63-shift)
	if err != nil {
		return 0, err
	}
	return int64(n) << shift, nil
}

// sizeText returns n bytes as a size that parseSize takes.
func sizeText(n int64) string { return fmt.Sprintf("%dM", n>>20) }
