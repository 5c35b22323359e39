package dialers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"tunnel/dns"
	"tunnel/route"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// Mark has the connections of dialers leave as those of a client with a full tunnel do.
func Mark(all []*ws.Dialer) {
	resolver := markedResolver(route.Mark)
	for _, d := range all {
		d.Mark, d.Resolver = route.Mark, resolver
	}
}

// WarnLocal warns if a server's name can only be asked of programs of this machine, whose own
// questions have no mark.
func WarnLocal(ctx context.Context, dialers []*ws.Dialer, log *slog.Logger) {
	if dialers[0].Mark == 0 {
		return
	}
	servers, err := dns.Servers()
	if err != nil || !dns.AreLocal(servers) {
		return
	}
	for _, d := range dialers {
		if host := d.URL.Hostname(); needsDNS(ctx, host) {
			log.WarnContext(ctx, "the server's name may not resolve: a program of this machine is asked, "+
				"whose own questions the kill switch refuses, and a full tunnel keeps while it is down: "+
				"put the name with its address into /etc/hosts", "name", host, "dns", servers)
		}
	}
}

// needsDNS reports whether a host is a name that no file resolves.
func needsDNS(ctx context.Context, host string) bool {
	offline := net.Resolver{PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("offline")
		}}
	_, err := offline.LookupHost(ctx, host) // an address resolves to itself
	return err != nil
}

// markedResolver returns a resolver whose questions have a mark, so that they leave while all else
// goes through the tunnel or nothing leaves. A program of this machine that answers questions, such
// as systemd-resolved, would ask without the mark, and a server inside the tunnel would not be
// reached before it is up: the machine's own servers are asked in their place.
func markedResolver(mark uint32) *net.Resolver {
	var asked atomic.Uint32
	dialer := net.Dialer{Control: dial.Control(mark)}
	return &net.Resolver{PreferGo: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			servers, err := dns.Servers()
			if err == nil {
				address = outside(address, servers, asked.Add(1)-1)
			}
			return dialer.DialContext(ctx, network, address)
		}}
}

// outside returns the DNS server to ask in the place of the one at address: that one if it is one
// of servers, else one of servers after the other, by the number of the question.
func outside(address string, servers []netip.Addr, number uint32) string {
	servers = slices.DeleteFunc(slices.Clone(servers), netip.Addr.IsLoopback)
	chosen, err := netip.ParseAddrPort(address)
	if err != nil || len(servers) == 0 || slices.Contains(servers, chosen.Addr()) {
		return address
	}
	server := servers[number%uint32(len(servers))]
	return netip.AddrPortFrom(server, chosen.Port()).String()
}
