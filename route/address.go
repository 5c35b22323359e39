package route

import (
	"fmt"
	"net/netip"
	"strings"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

// kind says what an entry is.
type kind string

const (
	kindDevice kind = "device"  // a TUN device that is about to be created
	kindAddr   kind = "address" // what ipcmd.AddrAdd adds
	kindRoute  kind = "route"   // what ipcmd.RouteAdd adds
	kindBypass kind = "bypass"  // what ipcmd.BypassAdd adds
)

// entry is one thing that this program adds to the kernel. It is typed data, never a command: whatever a journal
// contains, healing can only take away an address, a route or a TUN device. Entries are compared with ==.
type entry struct {
	Kind kind   `json:"kind"`
	Dev  string `json:"dev"`
	// Index is Dev's interface index for an address or a route on the tunnel's device, 0 if it was not known. The
	// kernel reuses names, but never an index: a device of another index is not the one that we changed.
	Index  int          `json:"index,omitzero"`
	Local  netip.Addr   `json:"local,omitzero"`
	Peer   netip.Addr   `json:"peer,omitzero"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Via    netip.Addr   `json:"via,omitzero"`
	Path   ipcmd.Path   `json:"path,omitzero"` // of a bypass
}

// String describes the entry to a person.
func (e entry) String() string {
	switch e.Kind {
	case kindAddr:
		return fmt.Sprintf("address %s peer %s dev %s", e.Local, e.Peer, e.Dev)
	case kindRoute, kindBypass:
		return fmt.Sprintf("route %s via %s dev %s", e.Prefix, e.Via, e.Dev)
	default:
		return fmt.Sprintf("%s %s", e.Kind, e.Dev)
	}
}

// add is the command that adds e to the kernel; a device is created by its owner instead.
func (e entry) add() cmdrun.Command {
	switch e.Kind {
	case kindAddr:
		return ipcmd.AddrAdd(e.Dev, e.Local, e.Peer)
	case kindBypass:
		return ipcmd.BypassAdd(e.Prefix.Addr(), e.Via, e.Dev, e.Path)
	default:
		return ipcmd.RouteAdd(e.Prefix, e.Via, e.Dev)
	}
}

// del is the command that undoes add.
func (e entry) del() cmdrun.Command {
	switch e.Kind {
	case kindAddr:
		return ipcmd.AddrDel(e.Dev, e.Local, e.Peer)
	case kindBypass:
		return ipcmd.BypassDel(e.Prefix.Addr(), e.Via, e.Dev, e.Path)
	default:
		return ipcmd.RouteDel(e.Prefix, e.Via, e.Dev)
	}
}

// checkDev refuses what the kernel refuses as the name of an interface, and what would leave the journal's directory.
func checkDev(dev string) error {
	if dev == "" || len(dev) > 15 || dev == "." || dev == ".." || strings.ContainsAny(dev, "/: \t\n\v\f\r") {
		return fmt.Errorf("%q is not a device name (1 to 15 bytes, no space, slash or colon)", dev)
	}
	return nil
}
