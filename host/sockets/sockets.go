// Package sockets says which local ports of TCP and UDP are in use, as /proc/net shows them.
package sockets

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"tunnel/firewall"
)

// Ports are local ports in use, each once and in order. The zero Ports has not been read.
type Ports struct {
	// Listening are those on which TCP connections are accepted, at most firewall.MaxPorts.
	Listening []uint16
	Older     firewall.Older // of connections that this machine has opened

	reads int
	// what was read: ports of listening sockets, of other TCP sockets, of UDP sockets that have a
	// peer, and of those that have none
	listening, tcp, udp, open []uint16
}

// States of sockets in /proc/net (include/net/tcp_states.h of the kernel).
const (
	stateEstablished = "01" // also a UDP socket that has a peer
	stateClose       = "07" // also a UDP socket that has none
	stateListen      = "0A"
)

// Read reads the ports of this thread's network namespace, unless it has done so. A port on which
// connections are accepted, or on which UDP comes from anyone, has opened none, and neither has one
// that the kernel does not choose: its listener may have gone before a session that it has
// accepted.
func (p *Ports) Read() {
	if p.reads == 0 {
		p.add()
	}
}

// Again reads once more, if Read has read once, and reports whether that has found more: what was
// opened between the first time and the setting of a table. Later connections are tracked from
// their beginning.
func (p *Ports) Again() bool {
	if p.reads != 1 {
		return false
	}
	listening, older := p.Listening, p.Older
	p.add()
	return !slices.Equal(listening, p.Listening) || !slices.Equal(older.TCP, p.Older.TCP) ||
		!slices.Equal(older.UDP, p.Older.UDP)
}

// Into returns rules with the ports in the place of those that they have.
func (p *Ports) Into(r firewall.Rules) firewall.Rules {
	r.Older = p.Older
	if r.Outside != nil {
		outside := *r.Outside
		outside.Ports = p.Listening
		r.Outside = &outside
	}
	return r
}

func (p *Ports) add() {
	p.reads++
	for _, version := range []string{"", "6"} {
		eachSocket("tcp"+version, func(port uint16, state string) {
			if state == stateListen {
				p.listening = append(p.listening, port)
			} else {
				p.tcp = append(p.tcp, port)
			}
		})
		eachSocket("udp"+version, func(port uint16, state string) {
			switch state {
			case stateEstablished:
				p.udp = append(p.udp, port)
			case stateClose:
				p.open = append(p.open, port)
			}
		})
	}
	p.Older = firewall.Older{TCP: chosen(without(p.tcp, p.listening)),
		UDP: chosen(without(p.udp, p.open))}
	p.Listening = without(p.listening, nil)
	p.Listening = p.Listening[:min(len(p.Listening), firewall.MaxPorts)]
}

// eachSocket calls visit for each socket of a kind that has a port. Without IPv6 there are none.
func eachSocket(kind string, visit func(port uint16, state string)) {
	file, err := os.Open("/proc/thread-self/net/" + kind)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // "0: 0100007F:0016 00000000:0000 0A …"
		if len(fields) < 4 {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil && n != 0 {
			visit(uint16(n), fields[3])
		}
	}
}

// without returns the ports that are not in others, each once and in order.
func without(ports, others []uint16) []uint16 {
	ports = slices.DeleteFunc(slices.Clone(ports),
		func(p uint16) bool { return slices.Contains(others, p) })
	slices.Sort(ports)
	return slices.Compact(ports)
}

// chosen returns the ports that the kernel chooses for a socket without one (ip_local_port_range in
// Documentation/networking/ip-sysctl.rst), all if that is not known.
func chosen(ports []uint16) []uint16 {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var first, last uint16
	if _, bad := fmt.Sscan(string(text), &first, &last); err != nil || bad != nil {
		return ports
	}
	return slices.DeleteFunc(ports, func(p uint16) bool { return p < first || p > last })
}
