package admission

import (
	"errors"
	"net"
)

// Handshake is asked before each TLS handshake's costly part, and waits until there is processor
// time for it. The error is that the connection should be aborted instead. end is called after that
// part, on the same goroutine.
func (l *Limiter) Handshake(remote net.Addr) (end func(), err error) {
	address := addressOfConn(remote)
	key := SourceOf(address)
	if !key.IsValid() || l.rules.Proxies.Has(address) {
		return func() {}, nil
	}
	var known, pays bool
	l.locked(func() {
		known = l.isKnown(key)
		pays = l.buckets.pays(key, known, true, l.rules.Now())
	})
	switch {
	case !pays:
		l.refuse(Rate, address, key)
		return nil, errRate
	case known:
		return func() {}, nil
	}
	end, ok := l.share.begin()
	if !ok {
		l.refuse(Late, address, key)
		return nil, errLate
	}
	return end, nil
}

var (
	errRate = errors.New("too many handshakes from there")
	errLate = errors.New("no processor time for the handshake")
)
