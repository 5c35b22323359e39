package route

import (
	"context"

	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Device is the fact that a TUN device is about to be made. It goes with its file, unless its
// process is killed while it is made.
type Device struct {
	Dev string `json:"dev"`
}

// Kind implements journal.Fact.
func (d Device) Kind() string { return "device" }

func (d Device) String() string { return "device " + d.Dev }

// Transient implements journal.Transient.
func (d Device) Transient() {}

// Check implements journal.Fact.
func (d Device) Check(r journal.Rules) error { return Own{Dev: d.Dev}.check(r, d) }

// Find implements journal.Fact. The device is a TUN that a killed run left while it was making it:
// persistent, with no process attached. Any other device of that name is not ours: the program's
// have one queue, and a TUN that is not persistent goes with its process.
func (d Device) Find(m journal.Machine) (bool, error) {
	link, err := m.Look.LinkByName(d.Dev)
	return err == nil && isIdle(link), err
}

func isIdle(link rtnl.Link) bool {
	return link.Tun != nil && link.Tun.Persist && !link.Tun.MultiQueue && !link.Carrier
}

// Remove implements journal.Fact.
func (d Device) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.TunDel(d.Dev))
	return err
}
