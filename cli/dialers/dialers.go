// Package dialers makes the dialers of the servers that a configuration of `tunnel connect` names.
package dialers

import (
	"log/slog"
	"net/http"

	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// New returns a Dialer for each server, at least one if the configuration names one.
func New(i *invocation.Invocation, log *slog.Logger) (all []*ws.Dialer, err error) {
	told := i.Connect
	first := ws.Dialer{Dialer: dial.Dialer{Proxy: proxies(told.Proxy), Mark: machine.Mark(told)},
		Header:     http.Header{},
		Congestion: told.Congestion}
	if first.Mark != 0 {
		first.Resolver = markedResolver(first.Mark)
	}
	if first.Token, err = i.Token(); err != nil {
		return nil, err
	}
	for _, h := range told.Header {
		first.Header.Add(h.Name, h.Value)
	}
	if first.TLS, err = clientTLS(i, log); err != nil {
		return nil, err
	}
	for _, s := range told.Servers {
		d := first
		d.URL, d.Guess = s.URL, s.Guess
		all = append(all, &d)
	}
	return all, checkPlain(told.AllowPlain, all)
}
