package sysctl

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Strict returns the interfaces, but own and at most so many, that accept a packet only where they
// would send the answer (rp_filter in Documentation/networking/ip-sysctl.rst of the kernel: the
// larger of an interface's own value and that for all counts).
func Strict(own string, most int) (names []string) {
	const conf = "/proc/sys/net/ipv4/conf/"
	paths, _ := filepath.Glob(conf + "*/rp_filter") // the pattern is valid
	value := func(dev string) int {
		text, _ := os.ReadFile(conf + dev + "/rp_filter") // it may have gone
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	general := value(all)
	for _, path := range paths {
		dev := filepath.Base(filepath.Dir(path))
		if dev != all && dev != "default" && dev != "lo" && dev != own &&
			max(general, value(dev)) == 1 && len(names) < most {
			names = append(names, dev)
		}
	}
	return names
}
