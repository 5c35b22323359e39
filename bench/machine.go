package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes where a run takes place, a line each.
func machine() []string {
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu = cpuModel(string(text), cpu)
	}
	memory := "unknown memory"
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, err := statusKiB(string(text), "MemTotal"); err == nil {
			memory = short(kib/(1<<20)) + " GiB"
		}
	}
	kernel := "unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	return []string{
		fmt.Sprintf("%s, %d CPUs, %s of memory", cpu, runtime.NumCPU(), memory),
		kernel,
		runtime.Version(),
	}
}

// cpuModel finds the processor's name in the text of /proc/cpuinfo.
func cpuModel(text, otherwise string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
