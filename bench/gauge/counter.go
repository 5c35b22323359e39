// Package gauge reads figures from hosts, and from the tools that measure between them.
package gauge

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"tunnel/e2e/lab"
)

// Arrived returns how many UDP datagrams have reached a host's UDP layer. It includes those that
// were dropped because a socket's buffer was full: its reader may be slower than the tunnel.
func Arrived(h *lab.Host) (uint64, error) {
	text, err := readNet(h, "snmp")
	if err != nil {
		return 0, err
	}
	in, err := snmpCounter(text, "Udp", "InDatagrams")
	if err != nil {
		return 0, err
	}
	full, err := snmpCounter(text, "Udp", "RcvbufErrors")
	return in + full, err
}

// Received returns how many packets a host's device has received.
func Received(h *lab.Host, dev string) (uint64, error) {
	text, err := readNet(h, "dev")
	if err != nil {
		return 0, err
	}
	return devPackets(text, dev)
}

// readNet reads a host's file in /proc/net.
func readNet(h *lab.Host, name string) (text string, err error) {
	err = h.Do(func() error {
		data, err := os.ReadFile("/proc/thread-self/net/" + name)
		text = string(data)
		return err
	})
	return text, err
}

// snmpCounter returns a counter of /proc/net/snmp, whose lines are pairs: names, values.
func snmpCounter(text, protocol, name string) (uint64, error) {
	var head []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != protocol+":" {
			continue
		}
		if head == nil {
			head = f
			continue
		}
		if i := slices.Index(head, name); i > 0 && i < len(f) {
			return strconv.ParseUint(f[i], 10, 64)
		}
	}
	return 0, fmt.Errorf("no counter %s of %s", name, protocol)
}

// devPackets returns the received packets of a device in /proc/net/dev.
func devPackets(text, dev string) (uint64, error) {
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		if f := strings.Fields(rest); ok && strings.TrimSpace(name) == dev && len(f) > 1 {
			return strconv.ParseUint(f[1], 10, 64)
		}
	}
	return 0, errors.New("no device " + dev)
}
