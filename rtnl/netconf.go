package rtnl

import "golang.org/x/sys/unix"

// Attributes of struct netconfmsg (include/uapi/linux/netconf.h).
const (
	netconfIndex           = 1
	netconfForwarding      = 2
	netconfForceForwarding = 10 // of IPv6, on one interface
	netconfAll             = -1 // the index that stands for all interfaces
)

// ParseForwarding reads a struct netconfmsg and its attributes; ok reports whether it is about
// forwarding alone, as after a change of that, and not about all settings, as of a new interface.
// The index is that of the interface, 0 for all of them.
func ParseForwarding(data []byte) (index int, ok bool) {
	if len(data) < unix.NLMSG_ALIGNTO {
		return 0, false
	}
	others := false
	attributes(data[unix.NLMSG_ALIGNTO:], func(kind uint16, value []byte) {
		switch kind {
		case netconfIndex:
			index = int(int32(number(value)))
		case netconfForwarding, netconfForceForwarding:
			ok = true
		default:
			others = true
		}
	})
	if index == netconfAll {
		index = 0
	}
	return index, ok && !others && index >= 0
}
