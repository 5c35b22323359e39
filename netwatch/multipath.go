package netwatch

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxHops is how many next hops of a route a filter looks at, for it cannot loop. A route with more
// of them is reported.
const maxHops = 16

// Lengths of a struct rtnexthop without attributes, and with an IPv4 gateway as its only one.
const (
	hopLength     = unix.SizeofRtNexthop
	gatewayLength = unix.SizeofRtNexthop + unix.SizeofRtAttr + 4
)

// gatewaysOfHops drops a route of several next hops of which none has a gateway that inside
// accepts; one of which a hop says more than a gateway it accepts. It begins with the offset of
// RTA_MULTIPATH in A. inside begins with the offset of a gateway's attribute in X, and goes on if
// it does not accept that gateway.
func gatewaysOfHops(inside []bpf.Instruction, accept bpf.Instruction) []bpf.Instruction {
	low, high := uint32(0), uint32(1) // bytes of a 16 bit number of this machine
	if loaded16(1) == 1 {
		low, high = high, low
	}
	program := []bpf.Instruction{
		bpf.StoreScratch{Src: bpf.RegA, N: slotHop},
		bpf.TAX{},
		// The end of the attribute: its offset and its length.
		bpf.LoadIndirect{Off: low, Size: 1},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.StoreScratch{Src: bpf.RegA, N: slotEnd},
		bpf.LoadIndirect{Off: high, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 8},
		bpf.LoadScratch{Dst: bpf.RegX, N: slotEnd},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.StoreScratch{Src: bpf.RegA, N: slotEnd},
		bpf.LoadScratch{Dst: bpf.RegA, N: slotHop},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: unix.SizeofRtAttr},
		bpf.StoreScratch{Src: bpf.RegA, N: slotHop},
	}
	gateway := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(gatewayLength), SkipTrue: 1},
		accept,
		bpf.LoadIndirect{Off: hopLength + 2, Size: 2}, // the attribute's type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTA_GATEWAY), SkipTrue: 1},
		accept,
		bpf.TXA{},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: hopLength},
		bpf.TAX{}, // where the gateway is an attribute's value, as inside expects it
	}
	gateway = append(gateway, inside...)
	gateway = append(gateway, bpf.LoadConstant{Dst: bpf.RegA, Val: gatewayLength}, bpf.Jump{Skip: 1})
	for range maxHops {
		program = append(program,
			bpf.LoadScratch{Dst: bpf.RegA, N: slotHop},
			bpf.LoadScratch{Dst: bpf.RegX, N: slotEnd},
			bpf.JumpIfX{Cond: bpf.JumpLessThan, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
			bpf.TAX{},
			bpf.LoadIndirect{Off: 0, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loaded16(hopLength), SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(gateway))},
		)
		program = append(append(program, gateway...),
			bpf.LoadConstant{Dst: bpf.RegA, Val: hopLength},
			bpf.LoadScratch{Dst: bpf.RegX, N: slotHop},
			bpf.ALUOpX{Op: bpf.ALUOpAdd},
			bpf.StoreScratch{Src: bpf.RegA, N: slotHop},
		)
	}
	return append(program, accept)
}
