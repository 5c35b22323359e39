package route

import (
	"context"
	"fmt"
	"slices"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
	"tunnel/rtnl"
)

// undo removes e from the kernel if it is still there exactly as it was added, and reports whether it removed
// something. What is gone already, alone or together with its device, is fine.
//
// Two equal entries cannot be told apart: if a killed run's bypass went away and somebody then added the very same
// host route by hand, healing removes that one.
func undo(ctx context.Context, run cmdrun.Runner, look Lookup, e entry) (removed bool, err error) {
	there, del, err := find(look, e)
	if err != nil {
		return false, fmt.Errorf("undo %s: %w", e, err)
	}
	if !there {
		return false, nil
	}
	_, failure := run.Run(ctx, del)
	if failure == nil {
		return true, nil
	}
	// It may have gone between the look-up and the command, for example with its device.
	if there, _, err := find(look, e); err == nil && !there {
		return false, nil
	}
	return false, fmt.Errorf("undo %s: %w", e, failure)
}

// find reports whether e is in the kernel, and the command that removes it.
func find(look Lookup, e entry) (bool, cmdrun.Command, error) {
	link, err := look.LinkByName(e.Dev)
	if err != nil || link.Index == 0 {
		return false, cmdrun.Command{}, err
	}
	switch {
	case e.Kind == kindDevice:
		idle, del := idleDevice(link, e)
		return idle, del, nil
	case e.Kind != kindBypass && !isOwn(link, e):
		return false, cmdrun.Command{}, nil
	case e.Kind == kindAddr:
		addrs, err := look.Addrs(link.Index)
		return err == nil && e.hasAddr(addrs), e.del(), err
	default:
		routes, err := routesTo(look, e.Prefix, link.Index)
		there := slices.ContainsFunc(routes, func(r rtnl.Route) bool { return e.is(r, link.Index) })
		return err == nil && there, e.del(), err
	}
}

// isOwn reports whether the device of an address or a route is the tunnel's: that of the index that was noted. Without one
// it must be a TUN at least.
func isOwn(link rtnl.Link, e entry) bool {
	if e.Index == 0 && link.Tun == nil {
		return false
	}
	return e.Index == 0 || link.Index == e.Index
}

// idleDevice reports whether link is a TUN that a killed run left while it was creating it: persistent, with no process
// attached, and the command that removes it. Any other device of that name is not ours: the program's have one queue, and a
// TUN that is not persistent goes with its process.
func idleDevice(link rtnl.Link, e entry) (bool, cmdrun.Command) {
	if link.Tun == nil || !link.Tun.Persist || link.Tun.MultiQueue || link.Carrier {
		return false, cmdrun.Command{}
	}
	return true, ipcmd.TunDel(e.Dev)
}
