package route

import (
	"context"
	"fmt"
	"slices"

	"tunnel/ipcmd"
)

// undo removes e from the kernel if it is still there exactly as it was added, and reports whether it removed
// something. What is gone already, alone or together with its device, is fine.
//
// Two equal entries cannot be told apart: if a killed run's bypass went away and somebody then added the very same
// host route by hand, healing removes that one.
func undo(ctx context.Context, run ipcmd.Runner, e entry) (removed bool, err error) {
	there, del, err := find(ctx, run, e)
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
	if there, _, err := find(ctx, run, e); err == nil && !there {
		return false, nil
	}
	return false, fmt.Errorf("undo %s: %w", e, failure)
}

// find reports whether e is in the kernel, and the command that removes it.
func find(ctx context.Context, run ipcmd.Runner, e entry) (bool, ipcmd.Command, error) {
	switch e.Kind {
	case kindDevice:
		return findDevice(ctx, run, e)
	case kindAddr:
		addrs, err := addrs(ctx, run)
		there := slices.ContainsFunc(addrs, func(a ipcmd.Addr) bool {
			return a.Dev == e.Dev && (e.Index == 0 || a.Index == e.Index) &&
				a.Local == e.Local && a.Peer == e.Peer && a.PrefixLen == 32
		})
		if err != nil || !there {
			return false, ipcmd.Command{}, err
		}
		own, err := isOwn(ctx, run, e)
		return own, e.del(), err
	case kindRoute:
		routes, err := routes(ctx, run, ipcmd.RouteShowExact(e.Prefix))
		if err != nil || !slices.ContainsFunc(routes, e.is) {
			return false, ipcmd.Command{}, err
		}
		own, err := isOwn(ctx, run, e)
		return own, e.del(), err
	default:
		routes, err := routes(ctx, run, ipcmd.RouteShowExact(e.Prefix))
		if err != nil || !slices.ContainsFunc(routes, e.is) {
			return false, ipcmd.Command{}, err
		}
		return true, e.del(), nil
	}
}

// isOwn reports whether the device of an address or a route is the tunnel's: that of the index that was noted. Without one
// it must be a TUN at least.
func isOwn(ctx context.Context, run ipcmd.Runner, e entry) (bool, error) {
	link, err := linkOf(ctx, run, e.Dev)
	if err == nil && e.Index == 0 && link.Tun == nil {
		return false, nil
	}
	return e.Index == 0 || link.Index == e.Index, err
}

// findDevice finds a TUN that a killed run left while it was creating it: persistent, with no process attached. Any
// other device of that name is not ours, because a TUN that is not persistent goes with its process. A single-queue TUN
// that is down does not show whether a process has it, so it stays.
func findDevice(ctx context.Context, run ipcmd.Runner, e entry) (bool, ipcmd.Command, error) {
	link, err := linkOf(ctx, run, e.Dev)
	if err != nil || link.Tun == nil || !link.Tun.Persist {
		return false, ipcmd.Command{}, err
	}
	idle := link.Up && !link.Carrier
	if link.Tun.MultiQueue {
		idle = link.Tun.Queues == 0
	}
	return idle, ipcmd.TunDel(e.Dev, link.Tun.MultiQueue), nil
}

func routes(ctx context.Context, run ipcmd.Runner, show ipcmd.Command) ([]ipcmd.Route, error) {
	out, err := run.Run(ctx, show)
	if err != nil {
		return nil, err
	}
	return ipcmd.ParseRoutes(out)
}

func addrs(ctx context.Context, run ipcmd.Runner) ([]ipcmd.Addr, error) {
	out, err := run.Run(ctx, ipcmd.AddrShow())
	if err != nil {
		return nil, err
	}
	return ipcmd.ParseAddrs(out)
}

// linkOf returns the interface dev, or a zero Link if there is none.
func linkOf(ctx context.Context, run ipcmd.Runner, dev string) (ipcmd.Link, error) {
	out, err := run.Run(ctx, ipcmd.LinkShow())
	if err != nil {
		return ipcmd.Link{}, err
	}
	links, err := ipcmd.ParseLinks(out)
	if err != nil {
		return ipcmd.Link{}, err
	}
	i := slices.IndexFunc(links, func(l ipcmd.Link) bool { return l.Name == dev })
	if i < 0 {
		return ipcmd.Link{}, nil
	}
	return links[i], nil
}
