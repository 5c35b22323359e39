package gauge

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Machine describes this machine: processor and memory, kernel, Go.
func Machine() []string {
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu = CPUModel(string(text), cpu)
	}
	memory := "unknown memory"
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, err := StatusKiB(string(text), "MemTotal"); err == nil {
			memory = fmt.Sprintf("%.1f GiB", kib/(1<<20))
		}
	}
	kernel := "unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]),
			unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	return []string{
		fmt.Sprintf("%s, %d CPUs, %s of memory", cpu, runtime.NumCPU(), memory),
		kernel,
		runtime.Version(),
	}
}
