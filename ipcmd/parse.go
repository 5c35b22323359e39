package ipcmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Types of routes that the program tells apart; the kernel has more.
const (
	Unicast = "unicast"
	Local   = "local"
)

// Way is the answer to RouteGet: how a packet to Dst leaves this host now.
type Way struct {
	Dst     netip.Addr
	Gateway netip.Addr // not valid when Dst is local or on the link
	Dev     string
	PrefSrc netip.Addr // the source address that the kernel would choose; may be not valid
	Type    string     // Unicast, Local, "broadcast", "multicast", ...
}

// Route is one entry of a routing table.
type Route struct {
	Dst      netip.Prefix
	Hops     []Hop  // empty for "unreachable", "blackhole", "prohibit" and "throw"
	Type     string // Unicast when ip prints none
	Table    string // "main" when ip prints none
	Protocol string // who made it; "boot", the default of ip, when it prints none
	Metric   uint32
}

// Hop is one next hop of a Route.
type Hop struct {
	Via  netip.Addr // not valid when the destination is on the link
	Dev  string
	Dead bool // the kernel does not use it
}

// Addr is one IPv4 address of an interface.
type Addr struct {
	Index     int // of the interface; never reused by the kernel while a network namespace lives
	Dev       string
	Local     netip.Addr
	Peer      netip.Addr // not valid unless the address is point-to-point
	PrefixLen int        // 0 to 32; of Peer when that is valid
}

// Link is one interface.
type Link struct {
	Index int
	Name  string
	Up    bool // by its administrator
	// Carrier tells, of an interface that is up, whether there is anything at the other end: for a TUN, a process.
	Carrier bool
	// Tun is nil unless the interface is a TUN (not TAP) and the kernel tells its details.
	Tun *Tun
}

// Tun are the details of a TUN device.
type Tun struct {
	Persist    bool
	MultiQueue bool
	Queues     int // attached and disabled ones; known for MultiQueue only
}

// nextHop is what `ip -j` prints alike in routes, in their nexthops and in the answer to `route get`.
type nextHop struct {
	Gateway string `json:"gateway"`
	Via     struct {
		Host string `json:"host"`
	} `json:"via"` // a gateway of another address family
	Dev   string   `json:"dev"`
	Flags []string `json:"flags"`
}

func (n nextHop) parse() (Hop, error) {
	hop := Hop{Dev: n.Dev, Dead: slices.Contains(n.Flags, "dead")}
	var err error
	if n.Via.Host != "" {
		hop.Via, err = parseAddr("gateway", n.Via.Host)
	} else {
		hop.Via, err = parseAddr("gateway", n.Gateway)
	}
	return hop, err
}

// ParseRouteGet reads what RouteGet prints. No answer at all is an error.
func ParseRouteGet(out []byte) (Way, error) {
	var ways []struct {
		nextHop
		Type    string `json:"type"`
		Dst     string `json:"dst"`
		PrefSrc string `json:"prefsrc"`
	}
	if err := decode("ip route get", out, &ways); err != nil {
		return Way{}, err
	}
	if len(ways) == 0 {
		return Way{}, errors.New("read ip route get: no answer")
	}
	raw := ways[0]
	hop, err := raw.parse()
	if err != nil {
		return Way{}, fmt.Errorf("read ip route get: %w", err)
	}
	way := Way{Gateway: hop.Via, Dev: hop.Dev, Type: orDefault(raw.Type, Unicast)}
	if way.Dst, err = netip.ParseAddr(raw.Dst); err != nil {
		return Way{}, fmt.Errorf("read ip route get: dst: %w", err)
	}
	if way.PrefSrc, err = parseAddr("prefsrc", raw.PrefSrc); err != nil {
		return Way{}, fmt.Errorf("read ip route get: %w", err)
	}
	return way, nil
}

// ParseRoutes reads what the RouteShow commands print, in its order.
func ParseRoutes(out []byte) ([]Route, error) {
	var entries []struct {
		nextHop
		Type     string    `json:"type"`
		Dst      string    `json:"dst"`
		Table    string    `json:"table"`
		Protocol string    `json:"protocol"`
		Metric   uint32    `json:"metric"`
		NextHops []nextHop `json:"nexthops"`
	}
	if err := decode("ip route show", out, &entries); err != nil {
		return nil, err
	}
	routes := make([]Route, 0, len(entries))
	for _, raw := range entries {
		route := Route{
			Type: orDefault(raw.Type, Unicast), Table: orDefault(raw.Table, "main"),
			Protocol: orDefault(raw.Protocol, "boot"), Metric: raw.Metric,
		}
		var err error
		if route.Dst, err = parsePrefix(raw.Dst); err != nil {
			return nil, fmt.Errorf("read ip route show: dst: %w", err)
		}
		hops := raw.NextHops
		if raw.Dev != "" {
			hops = append(hops, raw.nextHop)
		}
		for _, next := range hops {
			hop, err := next.parse()
			if err != nil {
				return nil, fmt.Errorf("read ip route show: %s: %w", raw.Dst, err)
			}
			route.Hops = append(route.Hops, hop)
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// ParseAddrs reads what AddrShow prints; addresses of other families are left out.
func ParseAddrs(out []byte) ([]Addr, error) {
	var links []struct {
		Index int    `json:"ifindex"`
		Name  string `json:"ifname"`
		Addrs []struct {
			Family    string `json:"family"`
			Local     string `json:"local"`
			Peer      string `json:"address"`
			PrefixLen int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := decode("ip addr show", out, &links); err != nil {
		return nil, err
	}
	var addrs []Addr
	for _, link := range links { // some versions print {} for an interface that -4 left out
		for _, raw := range link.Addrs {
			if raw.Family != "inet" {
				continue
			}
			addr := Addr{Index: link.Index, Dev: link.Name, PrefixLen: raw.PrefixLen}
			var err error
			if addr.Local, err = netip.ParseAddr(raw.Local); err != nil {
				return nil, fmt.Errorf("read ip addr show: %s: local: %w", link.Name, err)
			}
			if addr.Peer, err = parseAddr("address", raw.Peer); err != nil {
				return nil, fmt.Errorf("read ip addr show: %s: %w", link.Name, err)
			}
			if raw.PrefixLen < 0 || raw.PrefixLen > 32 {
				return nil, fmt.Errorf("read ip addr show: %s: prefixlen %d", link.Name, raw.PrefixLen)
			}
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// ParseLinks reads what LinkShow prints.
func ParseLinks(out []byte) ([]Link, error) {
	var entries []struct {
		Index int      `json:"ifindex"`
		Name  string   `json:"ifname"`
		Flags []string `json:"flags"`
		Info  struct {
			Kind string          `json:"info_kind"`
			Data json.RawMessage `json:"info_data"` // its fields differ from kind to kind
		} `json:"linkinfo"`
	}
	if err := decode("ip link show", out, &entries); err != nil {
		return nil, err
	}
	var links []Link
	for _, raw := range entries {
		if raw.Name == "" {
			continue
		}
		link := Link{
			Index: raw.Index, Name: raw.Name,
			Up: slices.Contains(raw.Flags, "UP"), Carrier: slices.Contains(raw.Flags, "LOWER_UP"),
		}
		if raw.Info.Kind == "tun" && len(raw.Info.Data) > 0 {
			var err error
			if link.Tun, err = parseTun(raw.Info.Data); err != nil {
				return nil, fmt.Errorf("read ip link show: %s: %w", raw.Name, err)
			}
		}
		links = append(links, link)
	}
	return links, nil
}

// parseTun returns nil for a TAP.
func parseTun(data json.RawMessage) (*Tun, error) {
	var raw struct {
		Type       string `json:"type"`
		Persist    bool   `json:"persist"`
		MultiQueue bool   `json:"multi_queue"`
		Queues     int    `json:"numqueues"`
		Disabled   int    `json:"numdisabled"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	if raw.Type != "tun" {
		return nil, nil
	}
	return &Tun{Persist: raw.Persist, MultiQueue: raw.MultiQueue, Queues: raw.Queues + raw.Disabled}, nil
}

func decode(what string, out []byte, into any) error {
	if len(bytes.TrimSpace(out)) == 0 {
		return nil // older versions print nothing where newer ones print []
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

// parseAddr reads an address that may be missing.
func parseAddr(what, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %w", what, err)
	}
	return addr, nil
}

// parsePrefix reads a destination as ip prints it: "default", a prefix, or an address that stands for itself.
func parsePrefix(text string) (netip.Prefix, error) {
	if text == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func orDefault(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
