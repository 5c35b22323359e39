package iptest

import (
	"net/netip"
	"slices"

	"tunnel/ipcmd"
)

type object = map[string]any

func (k *Kernel) showLinks() []object {
	out := []object{}
	for _, link := range k.links {
		var flags []string
		if link.Up {
			flags = append(flags, "UP")
		}
		if link.Carrier {
			flags = append(flags, "LOWER_UP")
		}
		out = append(out, object{"ifindex": link.Index, "ifname": link.Name, "flags": flags})
	}
	return out
}

func (k *Kernel) showAddrs() []object {
	out := []object{}
	for _, link := range k.links {
		info := []object{}
		for _, addr := range k.addrs {
			if addr.Dev == link.Name {
				info = append(info, object{
					"family": "inet", "local": addr.Local, "address": addr.Peer, "prefixlen": addr.PrefixLen,
				})
			}
		}
		out = append(out, object{"ifindex": link.Index, "ifname": link.Name, "addr_info": info})
	}
	return out
}

// showRoutes answers `route show`, alone or with `table all`, `exact PREFIX` or `match ADDRESS`.
func (k *Kernel) showRoutes(words []string) []object {
	exact, _ := netip.ParsePrefix(after(words, "exact"))
	match, _ := netip.ParseAddr(after(words, "match"))
	out := []object{}
	for _, route := range k.routes {
		if exact.IsValid() && route.Dst != exact || match.IsValid() && !route.Dst.Contains(match) {
			continue
		}
		entry := object{"dst": destination(route.Dst), "dev": route.Hops[0].Dev, "flags": []string{}}
		if via := route.Hops[0].Via; via.IsValid() {
			entry["gateway"] = via
		}
		if route.Protocol != "boot" {
			entry["protocol"] = route.Protocol
		}
		out = append(out, entry)
	}
	return out
}

// destination writes a prefix as ip does.
func destination(dst netip.Prefix) string {
	switch dst.Bits() {
	case 0:
		return "default"
	case 32:
		return dst.Addr().String()
	default:
		return dst.String()
	}
}

// getRoute answers `route get` from the longest prefix that contains the address.
func (k *Kernel) getRoute(text string) ([]object, *failed) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return nil, &failed{1, "Error: any valid prefix is expected rather than \"" + text + "\"."}
	}
	if slices.ContainsFunc(k.addrs, func(a ipcmd.Addr) bool { return a.Local == addr }) || addr.IsLoopback() {
		return []object{{"type": "local", "dst": text, "dev": "lo", "flags": []string{}}}, nil
	}
	best := ipcmd.Route{}
	for _, route := range k.routes {
		if route.Dst.Contains(addr) && (len(best.Hops) == 0 || route.Dst.Bits() > best.Dst.Bits()) {
			best = route
		}
	}
	if len(best.Hops) == 0 {
		return nil, &failed{2, "RTNETLINK answers: Network is unreachable"}
	}
	answer := object{"dst": text, "dev": best.Hops[0].Dev, "flags": []string{}}
	if via := best.Hops[0].Via; via.IsValid() {
		answer["gateway"] = via
	}
	return []object{answer}, nil
}
