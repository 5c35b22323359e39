package client

import (
	"errors"
	"os"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/policy"
)

// forward takes packets from the device to the queue. While there is no connection the queue fills,
// and further packets are dropped.
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

// readerPause is how long the device is not read after a panic in reading it, so that repeated
// panics do not keep a processor busy.
const readerPause = 100 * time.Millisecond

// read reads the device until it fails. A panic is returned as an error; its batch is lost.
func (c *Client) read() (err error) {
	defer defect.Catch(&err)
	return c.Device.ReadBatches(func(b *packet.Batch) {
		c.mu.RLock()
		own := c.address
		c.mu.RUnlock()
		for i := range b.Len() {
			// The server would drop any other source, for example the kernel's own IPv6 multicasts.
			if from := packet.Source(b.IP(i)); from != own && !c.behind.Contain(from) {
				c.drops.Count(policy.Foreign, 1)
				continue
			}
			c.queue.Push(b.Take(i))
		}
		c.queue.Flush()
	})
}

// receive returns the function that takes packets from the server to the kernel.
func (c *Client) receive(rules *policy.Client) func(*packet.Batch) error {
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
