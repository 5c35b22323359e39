package rtnl

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseTun(t *testing.T) {
	kind := func(name string) []byte {
		return attribute(nil, unix.IFLA_INFO_KIND, append([]byte(name), 0))
	}
	details := func(kinds ...byte) []byte {
		var all []byte
		for i := 0; i < len(kinds); i += 2 {
			all = attribute(all, uint16(kinds[i]), []byte{kinds[i+1]})
		}
		return attribute(kind("tun"), unix.IFLA_INFO_DATA, all)
	}
	for name, test := range map[string]struct {
		info     []byte
		hardware uint16
		want     *Tun
	}{
		"TUN": {details(unix.IFLA_TUN_TYPE, unix.IFF_TUN, unix.IFLA_TUN_PERSIST, 1),
			unix.ARPHRD_NONE, &Tun{Persist: true}},
		"TAP": {details(unix.IFLA_TUN_TYPE, unix.IFF_TAP), unix.ARPHRD_ETHER, nil},
		// as kernels before 4.17 answer
		"TUN without details": {kind("tun"), unix.ARPHRD_NONE, &Tun{}},
		"TAP without details": {kind("tun"), unix.ARPHRD_ETHER, nil},
		"WireGuard":           {kind("wireguard"), unix.ARPHRD_NONE, nil},
		"bridge":              {kind("bridge"), unix.ARPHRD_ETHER, nil},
	} {
		message := make([]byte, unix.SizeofIfInfomsg)
		binary.NativeEndian.PutUint16(message[2:], test.hardware)
		got := parseLink(attribute(message, unix.IFLA_LINKINFO, test.info)).Tun
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
