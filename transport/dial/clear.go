package dial

import "net/netip"

// Clear reports whether a connection by hop, an address of the server or of the proxy, carries the
// token and all packets unencrypted beyond this machine: the URL is ws://, and hop is not this
// machine's loopback. Through a proxy ws:// is always unencrypted, even if the proxy has https or
// is on the loopback: the proxy and the rest of the path can read everything.
func (d *Dialer) Clear(hop netip.Addr) bool {
	proxy, err := d.proxy()
	return d.URL.Scheme == "ws" && (err != nil || proxy != nil || !hop.Unmap().IsLoopback())
}
