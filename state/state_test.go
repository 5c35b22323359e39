package state

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "tunnel.db") }

func opened(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// all returns what a bucket has.
func all(t *testing.T, b Bucket) map[string]string {
	t.Helper()
	got := map[string]string{}
	if err := b.Each(func(k string,
		v []byte) error {
		got[k] = string(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBucket(t *testing.T) {
	path := path(t)
	f := opened(t, path)
	a, b := f.Bucket("a"), f.Bucket("b")
	if exists, err := a.Exists(); exists || err != nil || len(all(t, a)) != 0 {
		t.Errorf("a new bucket: %v, %v", exists, err)
	}
	for _, err := range []error{
		a.Write(map[string][]byte{"1": []byte("one"), "2": []byte("two")}),
		a.Write(map[string][]byte{"1": []byte("eins")}, "2", "never there"),
		b.Write(map[string][]byte{"1": []byte("other")}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Write(map[string][]byte{"": nil}, "1"); err == nil {
		t.Error("an empty key was written")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = opened(t, path)
	if got := fmt.Sprint(all(t, f.Bucket("a")),
		all(t, f.Bucket("b"))); got != "map[1:eins] map[1:other]" {
		t.Errorf("kept %s", got)
	}
	if exists, err := f.Bucket("a").Exists(); !exists || err != nil {
		t.Errorf("a bucket with something: %v, %v", exists, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("in the directory are %v, %v", entries, err)
	}
}

func TestLock(t *testing.T) {
	path := path(t)
	f := opened(t, path)
	if _, err := Try(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second one: %v", err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = f.Close()
	}()
	opened(t, path) // waits for one that is just stopping
}

// A start that was killed leaves a file of another name, which goes away; none of the right name
// that is not whole.
func TestLeftovers(t *testing.T) {
	path := path(t)
	old, young := path+".1.new", path+".2.new"
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	opened(t, path)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left an hour ago: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("what another may just be making: %v", err)
	}
}

// filled returns the content of a file with many keys in it.
func filled(t *testing.T) []byte {
	t.Helper()
	path := path(t)
	f := opened(t, path)
	for i := range 300 {
		if err := f.Bucket("b").Write(map[string][]byte{fmt.Sprint(i): []byte(strings.Repeat("x",
			100))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Whatever is wrong with the file: Open says so or the file works. Nothing panics, faults or hangs.
func TestDamaged(t *testing.T) {
	good := filled(t)
	try := func(what string, data []byte) (damaged bool) {
		path := path(t)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", what, err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(data) {
				t.Errorf("%s: the damaged file was changed (%v)", what, err)
			}
			return true
		}
		defer func() { _ = f.Close() }()
		keys := 0
		err = f.Bucket("b").Each(func(_ string, v []byte) error {
			if keys++; string(v) != strings.Repeat("x", 100) {
				t.Errorf("%s: a value is %q", what, v)
			}
			return nil
		})
		_ = f.Bucket("b").Write(map[string][]byte{"new": []byte("value")})
		if err == nil && keys < 299 { // the last write, whose page is damaged, may be taken back
			t.Errorf("%s: %d keys of 300 are left", what, keys)
		}
		return err != nil
	}
	if try("nothing", good) {
		t.Error("a good file is taken for a damaged one")
	}
	if !try("empty", nil) || !try("text", []byte(strings.Repeat("no database\n", 5000))) ||
		!try("zeros", make([]byte, len(good))) {
		t.Error("what is no database opens")
	}
	for n := 4096; n < len(good)/2; n += 4096 {
		try(fmt.Sprintf("cut to %d bytes", n), good[:n])
		try(fmt.Sprintf("cut to %d bytes", n-7), good[:n-7])
	}
	if !try("cut to three pages", good[:3*4096]) {
		t.Error("a file that lacks its data opens")
	}
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for i := range 200 {
		data := append([]byte(nil), good...)
		used := len(data) / 2
		switch i % 3 {
		case 0: // a few bits
			for range 1 + r.IntN(8) {
				data[r.IntN(used)] ^= 1 << r.IntN(8)
			}
		case 1: // the head of a page, where everything hangs on
			at := r.IntN(used/4096) * 4096
			for range 8 {
				data[at+r.IntN(32)] = byte(r.Uint32())
			}
		case 2: // a page of something else
			at := r.IntN(used/4096) * 4096
			for j := range 4096 {
				data[at+j] = byte(r.Uint32())
			}
		}
		if try(fmt.Sprintf("damage %d", i), data) {
			found++
		}
	}
	if found < 50 {
		t.Errorf("of 200 damaged files %d were found", found)
	}
	t.Logf("of 200 damaged files %d were found", found)
}

// A file that loses its pages under a server that runs costs an error each, not the server.
func TestCutWhileOpen(t *testing.T) {
	path := path(t)
	if err := os.WriteFile(path, filled(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f := opened(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Bucket("b").Each(func(string, []byte) error { return nil }); !errors.Is(err,
			ErrDamaged) {
			t.Errorf("read: %v", err)
		}
		if err := f.Bucket("b").Write(map[string][]byte{"k": nil}); !errors.Is(err, ErrDamaged) {
			t.Errorf("write: %v", err)
		}
	}
}

// writerEnv makes the test binary the writer of TestKilled, on the file that it names.
const writerEnv = "STATE_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		write(path)
		return
	}
	os.Exit(m.Run())
}

// write writes one key after the other, and says of each when it is safe.
func write(path string) {
	f, err := Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	round := os.Getpid()
	for i := 0; ; i++ {
		key := fmt.Sprintf("%d-%d", round, i)
		remove := fmt.Sprintf("%d-%d", round, i-20) // so that pages are used again
		if err := f.Bucket("b").Write(map[string][]byte{key: []byte("value of " + key)},
			remove); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("%s %s\n", key, remove)
	}
}

// A writer is killed again and again: the file always opens, and what was acknowledged is in it.
func TestKilled(t *testing.T) {
	path := path(t)
	want, written := map[string]string{}, 0
	for round := range 25 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(rand.IntN(120)) * time.Millisecond
		kill := time.AfterFunc(wait, func() { _ = cmd.Process.Signal(unix.SIGKILL) })
		if round%2 == 1 { // on a slow machine it would never get as far as a write
			kill.Reset(time.Minute)
		}
		lines := bufio.NewScanner(out)
		last := ""
		for lines.Scan() {
			key, removed, ok := strings.Cut(lines.Text(), " ")
			if !ok || !strings.Contains(key, "-") {
				t.Fatalf("round %d: the writer says %q", round, lines.Text())
			}
			if last == "" && round%2 == 1 {
				kill.Reset(wait)
			}
			want[key] = "value of " + key
			delete(want, removed)
			written, last = written+1, key
		}
		kill.Stop()
		_ = cmd.Wait() // it was killed
		f, err := Open(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got := all(t, f.Bucket("b"))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if got[k] != v {
				// The write after the last one that was acknowledged may have come through, and
				// removed one more.
				if n, m := number(k), number(last); n != m-19 ||
					!strings.HasPrefix(last, strings.Split(k, "-")[0]+"-") {
					t.Errorf("round %d: %s is %q; want %q", round, k, got[k], v)
				}
				delete(want, k)
			}
		}
	}
	if written < 12 {
		t.Errorf("only %d writes: nothing was tried", written)
	}
	t.Logf("%d writes acknowledged", written)
}

func number(key string) (n int) {
	_, text, _ := strings.Cut(key, "-")
	_, _ = fmt.Sscan(text, &n)
	return n
}
