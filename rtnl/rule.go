package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// FIB_RULE_INVERT and FRA_L3MDEV of include/uapi/linux/fib_rules.h.
const (
	ruleInvert = 0x2
	fraL3mdev  = 19
)

// Rule is one rule that chooses a table of routes for a packet (ip-rule(8)). What else it may ask
// for than addresses and a mark is not here.
type Rule struct {
	Priority int          // the kernel goes by the smallest first
	Table    int          // that it leads to; 0 is none
	AnyTable bool         // it leads to the table of a VRF, whichever that is
	From, To netip.Prefix // of the packets; not valid is any
	Inverted bool         // it is for the packets that are not as it says
	Mark     uint32       // of the packets, in the bits of Mask
	Mask     uint32       // 0 if it is for any mark
	Suppress int          // it does not lead to routes of a prefix of this length or shorter; or -1
}

// Rules returns the rules for IPv4 in the order in which the kernel goes by them, none if it knows
// no rules (CONFIG_IP_MULTIPLE_TABLES).
func (Kernel) Rules() ([]Rule, error) {
	request := make([]byte, unix.SizeofRtMsg) // struct fib_rule_hdr has the same size
	request[0] = unix.AF_INET
	var all []Rule
	err := query(unix.RTM_GETRULE, unix.NLM_F_DUMP, request, func(_ uint16, data []byte) error {
		if len(data) >= unix.SizeofRtMsg && data[0] == unix.AF_INET {
			all = append(all, parseRule(data))
		}
		return nil
	})
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("look up rules: %w", err)
	}
	return all, nil
}

// parseRule reads a struct fib_rule_hdr and its attributes.
func parseRule(data []byte) Rule {
	rule := Rule{Table: int(data[4]), Suppress: -1,
		Inverted: binary.NativeEndian.Uint32(data[8:])&ruleInvert != 0}
	attributes(data[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.FRA_DST:
			rule.To = rulePrefix(value, data[1])
		case unix.FRA_SRC:
			rule.From = rulePrefix(value, data[2])
		case unix.FRA_TABLE:
			rule.Table = int(number(value))
		case unix.FRA_PRIORITY:
			rule.Priority = int(number(value))
		case unix.FRA_FWMARK:
			rule.Mark = number(value)
		case unix.FRA_FWMASK:
			rule.Mask = number(value)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			rule.Suppress = int(int32(number(value)))
		case fraL3mdev:
			rule.AnyTable = true
		}
	})
	return rule
}

func rulePrefix(value []byte, bits byte) netip.Prefix {
	addr, _ := netip.AddrFromSlice(value)
	return netip.PrefixFrom(addr, int(bits))
}
