package gauge

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"tunnel/e2e/lab"
)

// userHZ is USER_HZ, the ticks a second in /proc/PID/stat: 100 on all architectures of Go.
const userHZ = 100

// CPUSeconds returns the CPU time of all processes in the hosts, in user space and in the kernel.
// It does not include interrupts.
func CPUSeconds(hosts ...*lab.Host) (float64, error) {
	var sum float64
	for _, h := range hosts {
		for _, pid := range h.Pids() {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if errors.Is(err, os.ErrNotExist) {
				continue // ended meanwhile
			}
			if err != nil {
				return 0, err
			}
			ticks, err := statTicks(string(text))
			if err != nil {
				return 0, err
			}
			sum += float64(ticks) / userHZ
		}
	}
	return sum, nil
}

// statTicks returns the sum of utime and stime in /proc/PID/stat.
func statTicks(text string) (uint64, error) {
	// The second field, the program's name in parentheses, may contain any bytes.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // proc(5) counts from 1, and two fields are cut off
	if len(fields) <= stime {
		return 0, errors.New("/proc/PID/stat has too few fields")
	}
	u, err := strconv.ParseUint(fields[utime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("utime: %w", err)
	}
	s, err := strconv.ParseUint(fields[stime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stime: %w", err)
	}
	return u + s, nil
}

// Resident returns a process's resident memory, in KiB.
func Resident(pid int) (float64, error) { return status(pid, "VmRSS") }

// PeakResident returns the peak of a process's resident memory, in KiB.
func PeakResident(pid int) (float64, error) { return status(pid, "VmHWM") }

func status(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return StatusKiB(string(text), name)
}

// StatusKiB returns a size in /proc/PID/status or /proc/meminfo, in KiB.
func StatusKiB(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" && f[2] == "kB" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, errors.New("no " + name + " in /proc/PID/status")
}

// CPUModel returns the processor's name in /proc/cpuinfo, or otherwise.
func CPUModel(text, otherwise string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok &&
			strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
