package admission

import (
	"errors"
	"net"
)

// Handshake waits until there is processor time for the expensive part of a TLS handshake. The
// caller calls end after that part, on the same goroutine. If there is an error it aborts the
// connection instead.
func (l *Limiter) Handshake(remote net.Addr) (end func(), err error) {
	address := addressOfConn(remote)
	key := SourceOf(address)
	if !key.IsValid() || l.rules.Proxies.Has(address) {
		return func() {}, nil
	}
	var known bool
	l.locked(func() { known = l.isKnown(key) })
	if known {
		return func() {}, nil
	}
	end, ok := l.share.begin()
	if !ok {
		l.refuse(Late, address, key)
		return nil, errLate
	}
	return end, nil
}

var errLate = errors.New("no processor time for the handshake")
