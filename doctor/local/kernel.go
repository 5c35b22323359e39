package local

import (
	"context"
	"fmt"
	"strings"

	"tunnel/doctor"
	"tunnel/sysctl"
)

const (
	forwardFile   = "/proc/sys/net/ipv4/ip_forward"
	validMarkFile = "/proc/sys/net/ipv4/conf/all/src_valid_mark"
)

// reversePath looks for interfaces that drop packets whose answer would leave by another one
// (rp_filter). That harms where there are several default routes, and a full tunnel where the mark
// of packets cannot be made to count.
func (m Machine) reversePath(context.Context) []doctor.Finding {
	const check = "rp_filter"
	strict := sysctl.Strict("", 64)
	if len(strict) == 0 {
		return ok(check, "not strict")
	}
	on := "strict on " + strings.Join(strict, ", ")
	routes, err := m.defaults()
	if err != nil {
		return failed(check, doctor.StrictFilter, err)
	}
	if err := mayWrite(validMarkFile); m.Wants.AllTraffic && err != nil &&
		readNumber(validMarkFile) != 1 {
		return bad(check, doctor.StrictFilter, true, on+", and all traffic is to go into the tunnel: "+
			err.Error(), "set it when the container is made, in Docker with "+
			"`--sysctl net.ipv4.conf.all.src_valid_mark=1`")
	}
	if len(routes) > 1 {
		var devs []string
		for _, r := range routes {
			devs = append(devs, r.dev)
		}
		return bad(check, doctor.StrictFilter, false, fmt.Sprintf("%s, and %s have default routes: "+
			"answers that come in by another interface than they would leave by are dropped", on,
			strings.Join(devs, ", ")), "`sysctl -w net.ipv4.conf.all.rp_filter=2`")
	}
	return ok(check, "%s, which harms nothing with one default route", on)
}

func (m Machine) forwarding(context.Context) []doctor.Finding {
	const check = "forwarding"
	if readNumber(forwardFile) == 1 {
		return ok(check, "net.ipv4.ip_forward is on")
	}
	if !m.Wants.Forwarding {
		return ok(check, "off, and nothing in the configuration needs it")
	}
	if err := mayWrite(forwardFile); err != nil {
		return bad(check, doctor.NoForwarding, true, "net.ipv4.ip_forward is off, and cannot be "+
			"switched on: "+err.Error()+": hosts behind this machine cannot be reached",
			"`sysctl -w net.ipv4.ip_forward=1`, in Docker when the container is made: "+
				"`--sysctl net.ipv4.ip_forward=1`")
	}
	return ok(check, "off, and switched on where a run needs it")
}
