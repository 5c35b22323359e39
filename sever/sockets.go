package sever

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/inet_diag.h and sock_diag.h.
const (
	sockDiagByFamily = 20
	sockDestroy      = unix.SOCK_DESTROY
	reqBytecode      = 1 // INET_DIAG_REQ_BYTECODE
	bytecodeJump     = 1 // INET_DIAG_BC_JMP
	bytecodeSource   = 7 // INET_DIAG_BC_S_COND
	bytecodeDest     = 8 // INET_DIAG_BC_D_COND

	requestLen = 56 // struct inet_diag_req_v2
	idOffset   = 8  // of its struct inet_diag_sockid
	idLen      = 48
	messageID  = 4 // offset of the same in struct inet_diag_msg
)

// The states of the sockets to end (include/net/tcp_states.h).
const (
	established = 1
	timeWait    = 6
	// all but CLOSE, LISTEN and bound sockets
	connected = 1<<established | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<timeWait | 1<<8 | 1<<9 | 1<<11 | 1<<12
)

// endSockets ends the sockets of one family and protocol that have a, and adds their number to n.
func endSockets(c *netlink.Conn, a netip.Addr, family, protocol uint8, n *int) error {
	states := uint32(connected)
	if protocol == unix.IPPROTO_UDP {
		states = 1 << established // a UDP socket that is connected
	}
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: reqBytecode,
		Data: bytecode(a)}})
	if err != nil {
		return err
	}
	found, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   append(request(family, protocol, states, nil), filter...),
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: list them: %w", ErrKernel, err)
	case err != nil:
		return fmt.Errorf("list: %w", err)
	}
	for _, m := range found {
		if len(m.Data) < messageID+idLen {
			continue
		}
		_, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDestroy, Flags: netlink.Request | netlink.Acknowledge},
			Data:   request(family, protocol, states, m.Data[messageID:messageID+idLen]),
		})
		switch state := m.Data[1]; {
		case err == nil:
			*n++
		case errors.Is(err, unix.ENOENT): // it has ended by itself
		case errors.Is(err, unix.EOPNOTSUPP) && state == timeWait:
			// before Linux 6.5; a socket in TIME_WAIT retransmits nothing
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("%w: %w", ErrKernel, err)
		default:
			return err
		}
	}
	return nil
}

// request returns a struct inet_diag_req_v2; id is that of one socket, or nil.
func request(family, protocol uint8, states uint32, id []byte) []byte {
	p := make([]byte, requestLen)
	p[0], p[1] = family, protocol
	binary.NativeEndian.PutUint32(p[4:], states)
	copy(p[idOffset:], id)
	return p
}

// bytecode returns the program (net/ipv4/inet_diag.c) that selects the sockets whose local or
// remote address is a: a condition, a jump to the end if it holds, another condition. A jump to
// four bytes past the end rejects. A condition on an IPv4 address also holds for that address in an
// IPv6 socket.
func bytecode(a netip.Addr) []byte {
	const jumpLen = 4
	local, remote := condition(bytecodeSource, a), condition(bytecodeDest, a)
	jump := operation(bytecodeJump, jumpLen, jumpLen+len(remote))
	return append(append(local, jump...), remote...)
}

// condition returns an operation with its struct inet_diag_hostcond.
func condition(code uint8, a netip.Addr) []byte {
	const fixed = 4 + 8
	n := fixed + a.BitLen()/8
	p := append(operation(code, n, n+4), unix.AF_INET, uint8(a.BitLen()), 0, 0)
	if a.Is6() {
		p[4] = unix.AF_INET6
	}
	p = binary.NativeEndian.AppendUint32(p, 0xffffffff) // any port
	return append(p, a.AsSlice()...)
}

// operation returns a struct inet_diag_bc_op with the offsets of the next one, by outcome.
func operation(code uint8, yes, no int) []byte {
	return binary.NativeEndian.AppendUint16([]byte{code, uint8(yes)}, uint16(no))
}
