package tun

import "tunnel/packet"

// Observed is a Device whose user sees each batch before it is written.
type Observed struct {
	Device
	See func(*packet.Batch) // must not change the batch
}

// WriteBatch implements Device.
func (o Observed) WriteBatch(b *packet.Batch) (refused int, err error) {
	o.See(b)
	return o.Device.WriteBatch(b)
}
