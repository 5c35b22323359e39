package client

import (
	"context"

	"tunnel/host"
)

// seal sets the kill switch, if there is one, before anything else is done.
func (c *Client) seal(ctx context.Context) error {
	if c.KillSwitch == nil {
		return nil
	}
	err := c.monitor.keeper.Set(ctx, host.Sealed(c.Device.Name(), c.MTU, c.Qlen, c.LAN, *c.KillSwitch))
	if err == nil {
		c.monitor.holds()
		c.Events.Sealed()
	}
	return err
}
