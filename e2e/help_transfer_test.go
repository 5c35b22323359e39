package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// reaches fails the test unless a ping from h to addr is answered.
func reaches(t *testing.T, h *lab.Host, addr string) {
	t.Helper()
	if out, stderr, code := h.Try("ping", "-n", "-c3", "-i0.2", "-W5", addr); code != 0 {
		t.Errorf("%s does not reach %s\n%s%s", h.Name(), addr, out, stderr)
	}
}

// cannotReach fails the test if a ping from h to addr is answered.
func cannotReach(t *testing.T, h *lab.Host, addr string, flags ...string) {
	t.Helper()
	argv := append([]string{"ping", "-n", "-c3", "-i0.2", "-W1"}, flags...)
	if out, _, code := h.Try(append(argv, addr)...); code == 0 {
		t.Errorf("%s reaches %s %v\n%s", h.Name(), addr, flags, out)
	}
}

// packetsLost returns how many echo requests of a ping that has ended were not answered.
func packetsLost(t *testing.T, ping *lab.Proc) int {
	t.Helper()
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(
		ping.Stdout())
	if m == nil {
		t.Fatalf("no statistics of ping:\n%s%s", ping.Stdout(), ping.Stderr())
	}
	sent, errSent := strconv.Atoi(m[1])
	received, errReceived := strconv.Atoi(m[2])
	if errSent != nil || errReceived != nil {
		t.Fatal(m[0])
	}
	return sent - received
}

// randomFile makes an incompressible file of n bytes, and returns its path and its SHA-256.
func randomFile(t *testing.T, n int) (path, sum string) {
	t.Helper()
	data := randomBytes(n)
	path = filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, sha(data)
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(data); err != nil {
		panic(err) // documented never to happen
	}
	return data
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// listening waits until a process listens on a TCP port of a host.
func listening(t *testing.T, h *lab.Host, port int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s listens on port %d", h.Name(), port), func() bool {
		return strings.Contains(h.Run("ss", "-Hltn", fmt.Sprintf("sport = :%d", port)), "LISTEN")
	})
}

// iperf runs one TCP stream from a host to an address of another, or in reverse with -R, for a
// second or, with -n, for as many bytes. The rate is only logged.
func iperf(t *testing.T, from, to *lab.Host, addr string, flags ...string) {
	t.Helper()
	server := to.Start("iperf3", "-s", "-1", "-B", addr, "--forceflush")
	server.WaitFor("Server listening", soon)
	argv := append([]string{"iperf3", "-c", addr, "-J", "--connect-timeout", "5000"}, flags...)
	if !slices.Contains(flags, "-n") {
		argv = append(argv, "-t1")
	}
	out := from.Run(argv...)
	var result struct {
		End struct {
			Received struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("iperf3 printed no JSON: %v\n%s", err, out)
	}
	if result.End.Received.Bytes < 100_000 {
		t.Errorf("iperf3 %s → %s %v moved %.0f bytes", from.Name(), to.Name(), flags,
			result.End.Received.Bytes)
	}
	t.Logf("iperf3 %s → %s %v: %.0f Mbit/s", from.Name(), to.Name(), flags,
		result.End.Received.Rate/1e6)
	server.Wait(soon)
}

// sendFile sends a random file of n bytes with nc to a host, at addr, and compares checksums.
func sendFile(t *testing.T, from, to *lab.Host, addr string, n int) {
	t.Helper()
	path, want := randomFile(t, n)
	receiver := to.Start("sh", "-c", "nc -d -l "+addr+" 9000 | sha256sum")
	listening(t, to, 9000)
	from.Run("sh", "-c", "exec nc -N "+addr+" 9000 <"+path)
	if code := receiver.Wait(soon); code != 0 || !strings.HasPrefix(receiver.Stdout(), want) {
		t.Errorf("nc %s → %s: exit code %d, checksum %q, want %s", from.Name(), to.Name(), code,
			receiver.Stdout(), want)
	}
}

// fetchFile fetches a random file of n bytes with curl from an nginx on another host, at addr, and
// compares checksums.
func fetchFile(t *testing.T, from, at *lab.Host, addr string, n int) {
	t.Helper()
	path, want := randomFile(t, n)
	startNginx(t, at, fmt.Sprintf("server { listen %s:8000; root %s; }", addr, filepath.Dir(path)))
	out := from.Run("sh", "-c", "curl -sS --fail http://"+addr+":8000/data | sha256sum")
	if !strings.HasPrefix(out, want) {
		t.Errorf("curl %s from %s: checksum %q, want %s", from.Name(), at.Name(), out, want)
	}
}
