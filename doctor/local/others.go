package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/dns"
	"tunnel/doctor"
	"tunnel/firewall"
	"tunnel/journal"
	"tunnel/tun"
)

// The names of the processes of systemd-networkd, of which the kernel keeps 15 characters, and of
// NetworkManager.
const (
	networkdName = "systemd-network"
	managerName  = "NetworkManager"
)

// networkd looks for programs that remove routes which they have not made. NetworkManager does so
// only on interfaces that it sets up anew, and a client makes its route again.
func (m Machine) networkd(context.Context) []doctor.Finding {
	const check = "route managers"
	running := processes(networkdName, managerName)
	if slices.Contains(running, networkdName) {
		if option := managed("/"); option != "" {
			return bad(check, doctor.ForeignRoutes, false, "systemd-networkd removes routes and rules "+
				"of others on interfaces that it sets up: "+option+" is on", "put `[Network]`, "+
				"`ManageForeignRoutes=no` and `ManageForeignRoutingPolicyRules=no` into "+
				"/etc/systemd/networkd.conf.d/tunnel.conf, and restart systemd-networkd")
		}
	}
	if len(running) == 0 {
		return ok(check, "none that removes routes of others")
	}
	for i := range running {
		if running[i] == networkdName {
			running[i] = "systemd-networkd"
		}
	}
	return ok(check, "%s, which leaves routes of others alone", strings.Join(running, " and "))
}

// managed returns the option by which systemd-networkd below a root directory removes what it has
// not made, "" if it does not (networkd.conf(5)). Later files override, and a directory does those
// after it.
func managed(root string) string {
	on := map[string]bool{"manageforeignroutes": true, "manageforeignroutingpolicyrules": true}
	files := map[string]string{} // by their names
	dirs := []string{"usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd"}
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(root, dir, "networkd.conf.d", "*.conf"))
		for _, file := range found {
			files[filepath.Base(file)] = file
		}
	}
	var order []string
	for _, dir := range dirs {
		order = append(order, filepath.Join(root, dir, "networkd.conf"))
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		order = append(order, files[name])
	}
	for _, file := range order {
		text, _ := os.ReadFile(file) // a missing one says nothing
		for line := range strings.Lines(string(text)) {
			key, value, found := strings.Cut(strings.TrimSpace(line), "=")
			key = strings.ToLower(strings.TrimSpace(key))
			if _, known := on[key]; found && known {
				value = strings.ToLower(strings.TrimSpace(value))
				on[key] = !slices.Contains([]string{"no", "false", "off", "0", "n", "f"}, value)
			}
		}
	}
	switch {
	case on["manageforeignroutes"]:
		return "ManageForeignRoutes"
	case on["manageforeignroutingpolicyrules"]:
		return "ManageForeignRoutingPolicyRules"
	}
	return ""
}

// isTunnel reports whether an interface, by its directory in /sys/class/net, is one of TUN or of
// WireGuard. Its hardware type does not say so: uplinks of PPP and of mobile modems have those of
// tunnels.
func isTunnel(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "tun_flags")); err == nil { // drivers/net/tun.c
		return true
	}
	text, _ := os.ReadFile(filepath.Join(dir, "uevent")) // of an interface that has gone
	return slices.Contains(strings.Fields(string(text)), "DEVTYPE=wireguard")
}

// defaultRoutes looks for another VPN that has the default route, and counts the rules that choose
// between tables.
func (m Machine) defaultRoutes(context.Context) []doctor.Finding {
	const check = "default route"
	routes, err := m.defaults()
	if err != nil {
		return unread(check, err)
	}
	live, _, err := ownDevices()
	if err != nil {
		return unread(check, err)
	}
	var texts []string
	for _, r := range routes {
		if isTunnel("/sys/class/net/"+r.dev) && !slices.Contains(live, r.dev) {
			return bad(check, doctor.OtherVPN, false, fmt.Sprintf("%s, a tunnel of another program, "+
				"has the route to %s: the connection to the server may go through it", r.dev, r.to),
				"end that VPN if the tunnel is not to go through it; two full tunnels on one machine "+
					"contend")
		}
		texts = append(texts, r.dev)
	}
	if len(texts) == 0 {
		texts = []string{"none"}
	}
	text := strings.Join(texts, ", ")
	rules, err := m.Look.Rules()
	if err != nil {
		return unread(check, err)
	}
	policy := 0
	for _, rule := range rules {
		if rule.Table != unix.RT_TABLE_LOCAL && rule.Table != unix.RT_TABLE_MAIN &&
			rule.Table != unix.RT_TABLE_DEFAULT {
			policy++
		}
	}
	if policy > 0 {
		text += fmt.Sprintf("; rules to other tables: %d", policy)
	}
	return ok(check, "%s", text)
}

// sealed returns the device of one of these runs whose kill switch is on, "" for none.
func (m Machine) sealed(ctx context.Context, killed []journal.Named) string {
	if has, err := tun.NetAdmin(); len(killed) == 0 || err != nil || !has {
		return ""
	}
	devs, _, err := firewall.Sealed(ctx, journal.Machine{Run: m.Run, Look: m.Look})
	if err != nil { // without nft there is none
		return ""
	}
	for _, j := range killed {
		if slices.Contains(devs, j.Dev) {
			return j.Dev
		}
	}
	return ""
}

// leftovers looks for what killed runs have left here.
func (m Machine) leftovers(ctx context.Context) []doctor.Finding {
	const check = "leftovers"
	live, killed, err := ownDevices()
	if err != nil {
		return unread(check, err)
	}
	if _, err := os.ReadDir(journal.SystemDir); errors.Is(err, os.ErrPermission) {
		return unread(check, err)
	}
	if dev := m.sealed(ctx, killed); dev != "" {
		return bad(check, doctor.Leftovers, true, "nothing leaves this machine: the kill switch of a "+
			"run with the device "+dev+" that was killed is on", "`tunnel cleanup` ends it, and a run with "+
			"a kill switch on that device takes it over")
	}
	var left []string
	for _, j := range killed {
		left = append(left, "of a run with the device "+j.Dev)
	}
	names, err := dns.Leftover()
	if err != nil {
		return unread(check, err)
	}
	if names != "" {
		left = append(left, names)
	}
	switch {
	case len(left) > 0:
		return bad(check, doctor.Leftovers, false, "a killed run has left something: "+
			strings.Join(left, "; "), "`tunnel cleanup` removes it, as the next run on that device does")
	case len(live) > 0:
		return ok(check, "none; running here: %s", strings.Join(live, ", "))
	}
	return ok(check, "none of killed runs")
}
