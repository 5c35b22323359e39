package gauge

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"tunnel/e2e/lab"
)

// ticks a second in /proc/PID/stat, USER_HZ: the same on every Linux that Go runs on.
const userHZ = 100

// CPUSeconds returns the time that all programs inside the hosts have spent on a CPU, in user space
// and in the kernel on their own account. What the kernel does in interrupts on behalf of nobody is
// not in it.
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

// statTicks reads utime and stime from the text of /proc/PID/stat, and returns their sum.
func statTicks(text string) (uint64, error) {
	// The second field is the program's name in parentheses, with whatever bytes it has.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // counted from 1 in proc(5), and two are cut off
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

// Resident returns the memory that a program has in RAM, in KiB.
func Resident(pid int) (float64, error) { return status(pid, "VmRSS") }

// PeakResident returns the most memory that a program has had in RAM, in KiB.
func PeakResident(pid int) (float64, error) { return status(pid, "VmHWM") }

func status(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return StatusKiB(string(text), name)
}

// StatusKiB reads a size from the text of /proc/PID/status.
func StatusKiB(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" && f[2] == "kB" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, errors.New("no " + name + " in /proc/PID/status")
}

// CPUModel finds the processor's name in the text of /proc/cpuinfo.
func CPUModel(text, otherwise string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok &&
			strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
