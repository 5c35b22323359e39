// Package iptest is a machine for tests: a pretended kernel with interfaces, addresses and routes
// that understands the commands of package ipcmd and answers look-ups as package rtnl does. It has
// one table, and no rules.
package iptest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/rtnl"
)

// Kernel is the pretended kernel. Its methods are safe for concurrent use.
type Kernel struct {
	mu     sync.Mutex
	links  []rtnl.Link        // guarded by mu, as all below
	addrs  []rtnl.Addr        //
	routes []rtnl.Route       //
	fail   map[string]*failed // by the command's text
}

type failed struct {
	code   int
	stderr string
}

// New returns a kernel with the interfaces devs, all up.
func New(devs ...string) *Kernel {
	k := &Kernel{fail: map[string]*failed{}}
	for _, dev := range devs {
		k.AddLink(dev)
	}
	return k
}

// AddLink adds an interface that is up.
func (k *Kernel) AddLink(dev string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	index := 1
	for _, link := range k.links {
		index = max(index, link.Index+1)
	}
	k.links = append(k.links, rtnl.Link{Index: index, Name: dev, Up: true, Running: true,
		Tun: tun(dev)})
}

// tun makes what is called tun… a TUN.
func tun(dev string) *rtnl.Tun {
	if strings.HasPrefix(dev, "tun") {
		return &rtnl.Tun{}
	}
	return nil
}

// DelLink deletes an interface with its addresses and routes.
func (k *Kernel) DelLink(dev string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	index := k.link(dev).Index
	k.links = slices.DeleteFunc(k.links, func(l rtnl.Link) bool { return l.Index == index })
	k.addrs = slices.DeleteFunc(k.addrs, func(a rtnl.Addr) bool { return a.Index == index })
	k.routes = slices.DeleteFunc(k.routes,
		func(r rtnl.Route) bool { return r.Hops[0].Index == index })
}

// Do runs a command given as text, such as `ip route add default via 192.168.107.2 dev ens160`.
func (k *Kernel) Do(command string) error {
	_, err := k.Run(context.Background(), cmdrun.Command{Program: "ip",
		Args: strings.Fields(command)[1:]})
	return err
}

// Fail makes the command of that text fail with an exit code and a text on stderr, until Fail with
// code 0.
func (k *Kernel) Fail(command string, code int, stderr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fail, command)
	if code != 0 {
		k.fail[command] = &failed{code, stderr}
	}
}

// Dump returns the addresses and routes, one a line, sorted.
func (k *Kernel) Dump() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for _, a := range k.addrs {
		lines = append(lines, fmt.Sprintf("addr %s peer %s/%d dev %s", a.Local, a.Peer, a.PrefixLen,
			k.name(a.Index)))
	}
	for _, r := range k.routes {
		line := fmt.Sprintf("route %s via %s dev %s", r.Dst, r.Hops[0].Via, k.name(r.Hops[0].Index))
		lines = append(lines, strings.ReplaceAll(line, " via invalid IP", ""))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// Run implements cmdrun.Runner.
func (k *Kernel) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &cmdrun.Error{Command: c, ExitCode: -2, Err: err}
	}
	for _, each := range c.Each {
		if out, err := k.Run(ctx, each); err != nil {
			return out, err
		}
	}
	if len(c.Each) > 0 {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	fail := k.run(c)
	if f := k.fail[c.String()]; f != nil {
		fail = f
	}
	if fail != nil {
		return nil, &cmdrun.Error{
			Command: c, ExitCode: fail.code, Stderr: fail.stderr,
			Err: fmt.Errorf("exit status %d", fail.code),
		}
	}
	return nil, nil
}

// run dispatches on the command's words without its options; a verb may be its first letter, as ip
// allows.
func (k *Kernel) run(c cmdrun.Command) *failed {
	if k.fail[c.String()] != nil {
		return nil
	}
	words := slices.DeleteFunc(slices.Clone(c.Args),
		func(w string) bool { return strings.HasPrefix(w, "-") })
	if len(words) < 2 {
		return &failed{255, "Usage: ip ..."}
	}
	object, verb, rest := words[0], words[1], words[2:]
	switch object[:1] + " " + verb[:1] {
	case "l s":
		return k.setLink(rest)
	case "a a", "a d":
		return k.changeAddr(verb, rest)
	case "r a", "r d":
		return k.changeRoute(verb, rest)
	default:
		return &failed{255, "not known to the pretended kernel: " + c.String()}
	}
}

func (k *Kernel) needLink(dev string) *failed {
	if k.link(dev).Index == 0 {
		return &failed{1, fmt.Sprintf("Cannot find device %q", dev)}
	}
	return nil
}

// setLink sets a link up or down, which takes its routes by a gateway away, and its MTU and queue.
func (k *Kernel) setLink(words []string) *failed {
	dev := after(words, "dev")
	if f := k.needLink(dev); f != nil {
		return f
	}
	link := &k.links[slices.IndexFunc(k.links, func(l rtnl.Link) bool { return l.Name == dev })]
	link.Up = !slices.Contains(words, "down")
	if mtu, err := strconv.Atoi(after(words, "mtu")); err == nil {
		link.MTU = mtu
	}
	if qlen, err := strconv.Atoi(after(words, "qlen")); err == nil {
		link.Qlen = qlen
	}
	if !link.Up {
		k.routes = slices.DeleteFunc(k.routes, func(r rtnl.Route) bool {
			// those come back with the link
			return r.Hops[0].Index == link.Index && r.Protocol != unix.RTPROT_KERNEL
		})
	}
	return nil
}

func (k *Kernel) link(dev string) rtnl.Link {
	i := slices.IndexFunc(k.links, func(l rtnl.Link) bool { return l.Name == dev })
	if i < 0 {
		return rtnl.Link{}
	}
	return k.links[i]
}

func (k *Kernel) name(index int) string {
	i := slices.IndexFunc(k.links, func(l rtnl.Link) bool { return l.Index == index })
	if i < 0 {
		return ""
	}
	return k.links[i].Name
}

func (k *Kernel) changeAddr(verb string, words []string) *failed {
	dev := after(words, "dev")
	if f := k.needLink(dev); f != nil {
		return f
	}
	local, err1 := netip.ParseAddr(after(words, "local"))
	peer, err2 := netip.ParsePrefix(slash32(after(words, "peer")))
	if err := errors.Join(err1, err2); err != nil {
		return &failed{1, "Error: " + err.Error()}
	}
	index := k.link(dev).Index
	addr := rtnl.Addr{Index: index, Local: local, Peer: peer.Addr(), PrefixLen: peer.Bits()}
	onLink := rtnl.Route{
		Dst: peer.Masked(), Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN,
		Protocol: unix.RTPROT_KERNEL,
		Hops:     []rtnl.Hop{{Index: index}},
	}
	at := slices.Index(k.addrs, addr)
	switch {
	case verb[0] == 'a' && at >= 0:
		return &failed{2, "Error: ipv4: Address already assigned."}
	case verb[0] == 'a':
		k.addrs = append(k.addrs, addr)
		k.routes = append(k.routes, onLink)
	case at < 0:
		return &failed{2, "Error: ipv4: Address not found."}
	default:
		k.addrs = slices.Delete(k.addrs, at, at+1)
		k.routes = slices.DeleteFunc(k.routes, onLink.Equal)
	}
	return nil
}

func (k *Kernel) changeRoute(verb string, words []string) *failed {
	dev := after(words, "dev")
	if f := k.needLink(dev); f != nil {
		return f
	}
	dst, err := netip.ParsePrefix(slash32(strings.Replace(words[0], "default", "0.0.0.0/0", 1)))
	if err != nil {
		return &failed{1, "Error: " + err.Error()}
	}
	route := rtnl.Route{Dst: dst, Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN,
		Protocol: unix.RTPROT_BOOT}
	switch after(words, "proto") {
	case "kernel":
		route.Protocol = unix.RTPROT_KERNEL
	case "static":
		route.Protocol = unix.RTPROT_STATIC
	}
	hop := rtnl.Hop{Index: k.link(dev).Index, Onlink: slices.Contains(words, "onlink")}
	if src := after(words, "src"); src != "" {
		route.Src = netip.MustParseAddr(src)
	}
	via := after(words, "via")
	if via == "inet6" {
		via = after(words, "inet6")
	}
	if via != "" {
		if hop.Via, err = netip.ParseAddr(via); err != nil {
			return &failed{1, "Error: " + err.Error()}
		}
	}
	route.Hops = []rtnl.Hop{hop}
	if verb[0] == 'a' {
		if slices.ContainsFunc(k.routes, func(r rtnl.Route) bool { return r.Dst == dst }) {
			return &failed{2, "RTNETLINK answers: File exists"}
		}
		k.routes = append(k.routes, route)
		return nil
	}
	at := slices.IndexFunc(k.routes, func(r rtnl.Route) bool {
		return r.Dst == dst &&
			r.Hops[0] == hop
	})
	if at < 0 {
		return &failed{2, "RTNETLINK answers: No such process"}
	}
	k.routes = slices.Delete(k.routes, at, at+1)
	return nil
}

// after returns the word behind key, or "".
func after(words []string, key string) string {
	if i := slices.Index(words, key); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

func slash32(text string) string {
	if strings.Contains(text, "/") {
		return text
	}
	return text + "/32"
}
