package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// startStream starts an iperf3 stream from a host to an address of another, until the end of the
// test.
func startStream(t *testing.T, from, to *lab.Host, addr string, flags ...string) {
	t.Helper()
	to.Start("iperf3", "-s", "-1", "-B", addr, "--forceflush").WaitFor("Server listening", soon)
	from.Start(append([]string{"iperf3", "-c", addr, "-t", "600", "--connect-timeout", "5000",
		"--forceflush"}, flags...)...).WaitFor("connected to", soon)
}

// limit has a device of a host send no faster than that many Mbit/s.
func limit(h *lab.Host, dev string, rate int) {
	h.Run("tc", "qdisc", "replace", "dev", dev, "root", "tbf", "rate", fmt.Sprintf("%dmbit", rate),
		"burst", "32kb", "latency", "30ms")
}

// bytesReceived returns how many bytes a host's iperf3 servers have received.
func bytesReceived(t *testing.T, h *lab.Host) (sum int) {
	t.Helper()
	text := h.Run("ss", "-Htin", "sport = :5201")
	for _, m := range regexp.MustCompile(`bytes_received:(\d+)`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// randomFlows sends that many UDP packets from random ports to random ports.
func randomFlows(t *testing.T, from *lab.Host, source, destination string, packets int) {
	t.Helper()
	err := from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(destination).As4()}
		ip := make([]byte, 60)
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], netip.MustParseAddr(source).AsSlice())
		copy(ip[16:], netip.MustParseAddr(destination).AsSlice())
		binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
		for i := range packets {
			binary.BigEndian.PutUint32(ip[20:], rand.Uint32())
			if err := unix.Sendto(fd, ip, 0, to); err != nil && err != unix.ENOBUFS {
				return err
			}
			if i%256 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("send packets of random flows: %v", err)
	}
}
