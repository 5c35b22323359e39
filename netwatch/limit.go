package netwatch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Limits say which changes of routes and links matter. All other kinds of events do in any case.
type Limits struct {
	Networks []netip.Prefix // IPv4: routes that overlap one of them, or have a gateway in one
	Hosts    []netip.Addr   // routes to prefixes that contain one of them
	Links    []int          // interface indexes; 0 is any
}

// maxLimits and maxNetworks bound the length of a filter, of which the kernel takes 4,096
// instructions: with more entries there is none, and of more networks neighbours are joined.
const (
	maxLimits   = 16
	maxNetworks = 16
)

// Limit has the kernel drop the changes that do not matter, so that a burst of thousands of them
// neither costs time nor fills the socket; with nil all matter. It may be called from any
// goroutine. It is no promise: Next may still return what does not matter, such as what was waiting
// already.
func (w *Watcher) Limit(to *Limits) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("limit what is watched: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = attach(int(fd), to) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("limit what is watched: %w", err)
	}
	return nil
}

// attach replaces the filter of a socket.
func attach(fd int, to *Limits) error {
	accept := bpf.RetConstant{Val: 1 << 31}
	program := []bpf.Instruction{accept}
	if to != nil && len(to.Hosts)+len(to.Links) <= maxLimits {
		program = to.program(accept)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, 0, len(raw))
	for _, r := range raw {
		code = append(code, unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K})
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}

// Offsets in a message: struct nlmsghdr, then struct rtmsg or ifinfomsg (rtnetlink(7)).
const (
	offsetType       = 4
	offsetFamily     = unix.NLMSG_HDRLEN
	offsetDstLen     = unix.NLMSG_HDRLEN + 1
	offsetIndex      = unix.NLMSG_HDRLEN + 4
	offsetAttributes = unix.NLMSG_HDRLEN + unix.SizeofRtMsg
)

// program returns the filter for a message, of which the kernel sends one at a time (nlmsg_notify).
// It drops only what is known not to matter.
func (l *Limits) program(accept bpf.Instruction) []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	var links []bpf.Instruction
	if !slices.Contains(l.Links, 0) {
		links = append(links, bpf.LoadAbsolute{Off: offsetIndex, Size: 4})
		for _, index := range l.Links {
			links = append(links,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loaded32(uint32(index)), SkipTrue: 1},
				accept)
		}
		links = append(links, drop)
	}
	var four, six []bpf.Instruction
	for _, host := range l.Hosts {
		if a := host.Unmap(); a.Is4() {
			four = append(four, ifOverlaps(firstWord(a), accept)...)
		} else {
			six = append(six, ifOverlaps(firstWord(a), accept)...)
		}
	}
	if slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return !n.Addr().Is4() }) {
		return []bpf.Instruction{accept}
	}
	var gateways []bpf.Instruction // X is the offset of one's attribute
	for _, n := range widen(l.Networks, maxNetworks) {
		if n.Bits() == 0 {
			return []bpf.Instruction{accept}
		}
		within := []bpf.Instruction{
			bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: firstWord(n.Masked().Addr())},
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: uint32(32 - n.Bits())},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, accept,
		}
		// Two prefixes overlap if they agree in as many bits as one of them has.
		four = append(four, ifOverlaps(firstWord(n.Masked().Addr()), accept)...)
		four = append(append(four, bpf.LoadScratch{Dst: bpf.RegA, N: slotDst}), within...)
		gateways = append(gateways, bpf.LoadIndirect{Off: unix.SizeofRtAttr, Size: 4})
		gateways = append(gateways, within...)
	}
	// What is longer than a conditional jump reaches is passed by an unconditional one.
	pass := func(part []bpf.Instruction) bpf.Instruction {
		return bpf.Jump{Skip: uint32(len(part))}
	}
	hops := gatewaysOfHops(gateways, accept)
	four = append(four, attributeOffset(unix.RTA_MULTIPATH)...)
	four = append(four, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		pass(hops))
	four = append(four, hops...)
	four = append(four, attributeOffset(unix.RTA_GATEWAY)...)
	four = append(four, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, drop, bpf.TAX{})
	four = append(append(four, gateways...), drop)
	six = append(six, drop)

	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTM_NEWLINK), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTM_DELLINK), SkipTrue: 1},
		pass(append(links, accept)),
	}
	program = append(append(program, links...), accept)
	program = append(program,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTM_NEWROUTE), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTM_DELROUTE), SkipTrue: 1},
		accept,
		// The first 32 bits of the destination; a default route has none.
		bpf.LoadAbsolute{Off: offsetDstLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		accept,
	)
	program = append(program, attributeOffset(unix.RTA_DST)...)
	program = append(program,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		accept,
		bpf.TAX{},
		bpf.LoadIndirect{Off: unix.SizeofRtAttr, Size: 4},
		bpf.StoreScratch{Src: bpf.RegA, N: slotDst},
		// What of them does not count.
		bpf.LoadAbsolute{Off: offsetDstLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: 32, SkipTrue: 1},
		bpf.LoadConstant{Dst: bpf.RegA, Val: 32},
		bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: 0xffffffff}, // 32-n is 33+^n
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 33},
		bpf.StoreScratch{Src: bpf.RegA, N: slotShift},
		bpf.LoadAbsolute{Off: offsetFamily, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
		pass(four),
	)
	program = append(program, four...)
	program = append(program,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET6, SkipTrue: 1}, accept)
	return append(program, six...)
}

// Slots of the filter's memory.
const (
	slotDst   = 0 // the first 32 bits of a route's destination
	slotShift = 1 // how many of them are not in its prefix, 0 to 31
	slotHop   = 2 // offset of the next hop that is looked at
	slotEnd   = 3 // offset behind the last next hop
)

// ifOverlaps goes on unless the first 32 bits of word are in the prefix of a route's destination.
func ifOverlaps(word uint32, then bpf.Instruction) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadScratch{Dst: bpf.RegX, N: slotShift},
		bpf.LoadScratch{Dst: bpf.RegA, N: slotDst},
		bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: word},
		bpf.ALUOpX{Op: bpf.ALUOpShiftRight},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		then,
	}
}

// attributeOffset loads where in the message an attribute is, 0 if it has none (SKF_AD_NLATTR of
// include/uapi/linux/filter.h).
func attributeOffset(kind uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegX, Val: kind},
		bpf.LoadConstant{Dst: bpf.RegA, Val: offsetAttributes},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
	}
}

// firstWord returns the first 32 bits of an address.
func firstWord(a netip.Addr) uint32 { return binary.BigEndian.Uint32(a.AsSlice()) }

// loaded16 and loaded32 return what a filter, which loads in network byte order, sees of a number
// in this machine's.
func loaded16(n uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n)))
}

func loaded32(n uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, n))
}
