package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// jump sets the wall clock of one running program to the true time plus d, in whole seconds. It
// patches the program's copy of the kernel's vDSO, from which Go reads the time: clock_gettime adds
// d to CLOCK_REALTIME. Monotonic clocks stay true, as in a real jump.
func jump(t *testing.T, proc *lab.Proc, d time.Duration) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the replacement for clock_gettime is machine code for amd64")
	}
	// int clock_gettime(clockid_t edi, struct timespec *rsi)
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, 228 (clock_gettime)
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
		0x75, 0x07, // jnz, over the next
		0x48, 0x81, 0x06, 0, 0, 0, 0, // add qword [rsi], seconds
		0xc3, // ret
	}
	binary.LittleEndian.PutUint32(code[14:], uint32(int32(d/time.Second)))

	pid := proc.Worker()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	at := clockGettime(t, pid, mem)
	eventually(t, "no thread is where the code changes", func() bool {
		proc.Signal(syscall.SIGSTOP)
		defer proc.Signal(syscall.SIGCONT)
		if !stoppedOutside(t, pid, at, at+256) {
			return false
		}
		if _, err := mem.WriteAt(code, int64(at)); err != nil {
			t.Fatalf("write to the vDSO of %d: %v", pid, err)
		}
		return true
	})
}

// clockGettime returns the address of clock_gettime in a program's vDSO.
func clockGettime(t *testing.T, pid int, mem *os.File) uint64 {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$`).FindStringSubmatch(
		string(maps))
	if m == nil {
		t.Fatalf("no vDSO in\n%s", maps)
	}
	begin, errBegin := strconv.ParseUint(m[1], 16, 64)
	end, errEnd := strconv.ParseUint(m[2], 16, 64)
	if errBegin != nil || errEnd != nil {
		t.Fatal(m[0])
	}
	image := make([]byte, end-begin)
	if _, err := mem.ReadAt(image, int64(begin)); err != nil {
		t.Fatalf("read the vDSO: %v", err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatalf("read the vDSO: %v", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatalf("read the vDSO: %v", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return begin + s.Value
		}
	}
	t.Fatal("the vDSO has no __vdso_clock_gettime")
	return 0
}

// stoppedOutside reports whether all threads of a program are stopped, none of them between two
// addresses.
func stoppedOutside(t *testing.T, pid int, begin, end uint64) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of %d: %v", pid, err)
	}
	for _, thread := range threads {
		// The text is "running", or numbers of which the last is the program counter.
		text, err := os.ReadFile(filepath.Join(thread, "syscall"))
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 2 {
			return false
		}
		at, err := strconv.ParseUint(fields[len(fields)-1], 0, 64)
		if err != nil || (at >= begin && at < end) {
			return false
		}
	}
	return true
}

// yearOf returns the year of the last line that a program has logged.
func yearOf(t *testing.T, proc *lab.Proc) int {
	t.Helper()
	all := regexp.MustCompile(`(?m)^time=(\d{4})-`).FindAllStringSubmatch(proc.Stderr(), -1)
	if all == nil {
		t.Fatalf("no time in the log:\n%s", proc.Stderr())
	}
	year, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return year
}
