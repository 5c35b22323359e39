package sever

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
	jumpLen          = 4 // of a bytecodeJump, in bytes

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

// dump is one look of the kernel at its sockets of a family and protocol: at those with an address
// in one of the networks.
type dump struct {
	family, protocol uint8
	networks         []netip.Prefix
}

// maxNetworks is how many networks a dump has at most: offsets in its program have 16 bits.
const maxNetworks = 512

// dumps returns what finds the sockets of all networks. IPv6 sockets can have IPv4 addresses (RFC
// 3493 section 3.7).
func dumps(all []netip.Prefix) (dumps []dump) {
	four, _ := byFamily(all)
	add := func(family uint8, networks []netip.Prefix) {
		for part := range slices.Chunk(networks, maxNetworks) {
			dumps = append(dumps, dump{family, unix.IPPROTO_TCP, part},
				dump{family, unix.IPPROTO_UDP, part})
		}
	}
	add(unix.AF_INET, four)
	add(unix.AF_INET6, all)
	return dumps
}

// endSockets ends the sockets of d, and adds their number to n.
func (d dump) endSockets(c *netlink.Conn, n *int) error {
	states := uint32(connected)
	if d.protocol == unix.IPPROTO_UDP {
		states = 1 << established // a UDP socket that is connected
	}
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: reqBytecode,
		Data: bytecode(d.networks)}})
	if err != nil {
		return err
	}
	found, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   append(request(d.family, d.protocol, states, nil), filter...),
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
			Data:   request(d.family, d.protocol, states, m.Data[messageID:messageID+idLen]),
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
// remote address is in one of the networks: conditions, each with a jump to the end if it holds.
// The last needs no jump, and if it does not hold, its offset to four bytes past the end rejects. A
// condition on IPv4 addresses also holds for those in IPv6 sockets.
func bytecode(networks []netip.Prefix) (program []byte) {
	var conditions [][]byte
	rest := -jumpLen // bytes to the end of the program
	for _, n := range networks {
		local, remote := condition(bytecodeSource, n), condition(bytecodeDest, n)
		conditions = append(conditions, local, remote)
		rest += len(local) + jumpLen + len(remote) + jumpLen
	}
	for _, c := range conditions {
		program = append(program, c...)
		if rest -= len(c); rest > 0 {
			program = append(program, operation(bytecodeJump, jumpLen, rest)...)
			rest -= jumpLen
		}
	}
	return program
}

// condition returns an operation with its struct inet_diag_hostcond.
func condition(code uint8, network netip.Prefix) []byte {
	a := network.Addr()
	const fixed = 4 + 8
	n := fixed + a.BitLen()/8
	p := append(operation(code, n, n+4), unix.AF_INET, uint8(network.Bits()), 0, 0)
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
