package client

import (
	"errors"
	"os"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/policy"
	"tunnel/transport"
)

// forward is the path out: what the kernel sends into the device goes to the queue. While there is
// no connection the queue fills and the rest is lost, as on a cable that is out.
func (c *Client) forward() error {
	for {
		err := c.read()
		switch {
		case c.defects.Note(err, c.Log):
			time.Sleep(readerPause)
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return err
		}
	}
}

// readerPause is how long the device is not read after a panic in reading it: one that comes again
// must not take a core.
const readerPause = 100 * time.Millisecond

// read reads the device until that ends. A panic is the error; the batch that met it is lost.
func (c *Client) read() (err error) {
	defer defect.Catch(&err)
	return c.Device.ReadBatches(func(b *packet.Batch) {
		c.mu.RLock()
		own := c.address
		c.mu.RUnlock()
		for i := range b.Len() {
			// The server would drop any other source; the kernel's own IPv6 chatter has one.
			if packet.Source(b.IP(i)) != own {
				c.drops.Count(policy.Foreign, 1)
				continue
			}
			c.queue.Push(b.Take(i))
		}
		c.queue.Flush()
	})
}

// receive returns the path in: from the server to the kernel.
func (c *Client) receive(link transport.Link) func(*packet.Batch) error {
	rules := policy.Client{Address: link.Address, Network: link.Network}
	return func(b *packet.Batch) error {
		b.Filter(func(i int) bool {
			v := rules.FromServer(b, i)
			if v != policy.Pass {
				c.drops.Count(v, 1)
			}
			return v == policy.Pass
		})
		refused, err := c.Device.WriteBatch(b)
		c.drops.Count(policy.Kernel, uint64(refused))
		return err
	}
}
