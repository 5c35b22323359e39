package dial

import "net/netip"

// Clear reports whether a connection by hop, an address of the server or of the proxy, carries the
// token and all packets unencrypted beyond this machine: the URL is ws://, and hop is not this
// machine's loopback. Behind a proxy it always does, also behind one with https or on the loopback:
// the proxy reads everything, and so does the rest of the path.
func (d *Dialer) Clear(hop netip.Addr) bool {
	proxy, err := d.proxy()
	return d.URL.Scheme == "ws" && (err != nil || proxy != nil || !hop.Unmap().IsLoopback())
}
