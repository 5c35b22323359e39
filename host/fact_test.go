package host_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
)

// A journal that somebody else has written may ask for these: none is ever undone.
func TestForgedFacts(t *testing.T) {
	for name, line := range map[string]string{
		"default route": `{"kind":"route","dev":"tun0","prefix":"0.0.0.0/0","via":"192.168.107.2"}`,
		"half of all": `{"kind":"route","dev":"tun0",` +
			`"prefix":"128.0.0.0/1","via":"192.168.107.2"}`,
		"default by eth": `{"kind":"route","dev":"ens160",` +
			`"prefix":"0.0.0.0/0","via":"192.168.107.2"}`,
		"link's network": `{"kind":"route","dev":"ens160","prefix":"10.8.0.0/24","via":"10.8.0.2"}`,
		"link's address": `{"kind":"address","dev":"ens160",` +
			`"local":"192.168.107.9","peer":"192.168.107.10"}`,
		"gateway outside": `{"kind":"route","dev":"tun0",` +
			`"prefix":"10.8.0.0/24","via":"192.168.107.2"}`,
		"host by the tunnel": `{"kind":"bypass","dev":"tun0",` +
			`"prefix":"101.43.253.110/32","via":"10.1.1.4"}`,
		"network bypass": `{"kind":"bypass","dev":"ens160",` +
			`"prefix":"101.43.253.0/24","via":"192.168.107.2"}`,
		"multicast bypass": `{"kind":"bypass","dev":"ens160",` +
			`"prefix":"224.0.0.1/32","via":"192.168.107.2"}`,
		"no gateway": `{"kind":"bypass","dev":"ens160","prefix":"101.43.253.110/32"}`,
		"beyond by eth": `{"kind":"beyond","dev":"ens160",` +
			`"prefix":"192.168.7.0/24","via":"192.168.107.2"}`,
		"default beyond":    `{"kind":"beyond","dev":"tun0","prefix":"0.0.0.0/0","via":"10.1.1.4"}`,
		"loopback beyond":   `{"kind":"beyond","dev":"tun0","prefix":"127.0.0.0/8","via":"10.1.1.4"}`,
		"beyond a loopback": `{"kind":"beyond","dev":"tun0","prefix":"10.8.0.0/24","via":"127.0.0.1"}`,
		"another's device":  `{"kind":"device","dev":"tun7"}`,
		"loopback":          `{"kind":"route","dev":"tun0","prefix":"127.0.0.0/8","via":"127.0.0.1"}`,
		"another's table":   `{"kind":"nftables","dev":"tun7"}`,
		"all tables":        `{"kind":"nftables","dev":"*"}`,
		"no table":          `{"kind":"nftables"}`,
		"a table's rules":   `{"kind":"nftables","dev":"tun0","rules":["accept"]}`,
		"another table":     `{"kind":"nftables","dev":"tun0; flush ruleset"}`,
		"a rule of others":  `{"kind":"rule","priority":32766,"table":254}`,
		"a rule elsewhere":  `{"kind":"rule","priority":1101,"table":255,"without":29806}`,
		"a rule for all":    `{"kind":"rule","priority":1101,"table":29806}`,
		"main's default":    `{"kind":"default","dev":"tun0","prefix":"0.0.0.0/0","table":254}`,
		"another's default": `{"kind":"default","dev":"ens160","prefix":"0.0.0.0/0",` +
			`"table":29806}`,
		"part of all":      `{"kind":"default","dev":"tun0","prefix":"64.0.0.0/2","table":254}`,
		"no IPv6":          `{"kind":"unreachable","prefix":"::/0","table":254}`,
		"part of IPv6":     `{"kind":"unreachable","prefix":"2000::/3","table":254}`,
		"not IPv6":         `{"kind":"unreachable","prefix":"0.0.0.0/0","table":29806}`,
		"all interfaces":   `{"kind":"sysctl","name":"ipv4/forwarding","dev":"all"}`,
		"new interfaces":   `{"kind":"sysctl","name":"ipv4/forwarding","dev":"default"}`,
		"a value":          `{"kind":"sysctl","name":"ipv4/forwarding","dev":"ens160","value":1}`,
		"another sysctl":   `{"kind":"sysctl","name":"ipv4/rp_filter","dev":"ens160"}`,
		"a path":           `{"kind":"sysctl","name":"../../kernel/panic","dev":"ens160"}`,
		"a path elsewhere": `{"kind":"sysctl","name":"ipv4/forwarding","dev":"../../../kernel"}`,
	} {
		t.Run(name, func(t *testing.T) {
			kernel, dir := pretend(t, true), t.TempDir()
			path := leave(t, dir, headLine+line+"\n")
			recorder := iptest.NewRecorder(kernel)
			report, err := journal.Cleanup(t.Context(),
				journal.Machine{Run: recorder, Look: kernel}, host.Kinds(), nil, dir)
			if err != nil || len(report.Removed) != 0 || len(recorder.Commands()) != 0 {
				t.Errorf("removed %q, %v; ran %v", report.Removed, err, recorder.Commands())
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is left: %v", err)
			}
		})
	}
}

// A journal may be named after any interface: what is no TUN is not the tunnel's device.
func TestForgedDevice(t *testing.T) {
	const dev = "eth7"
	for _, index := range []string{"", `,"index":2`} {
		kernel, dir := iptest.New("lo", dev), t.TempDir()
		do(t, kernel, "ip addr add dev eth7 local 10.8.0.1 peer 10.8.0.2",
			"ip route add 10.8.0.0/24 via 10.8.0.2 dev eth7")
		if link, err := kernel.LinkByName(dev); err != nil || link.Index != 2 {
			t.Fatal(link, err)
		}
		j, err := openJournal(dir, dev)
		if err != nil {
			t.Fatal(err)
		}
		path := journalPath(t, dir)
		forged := `{"tunnel":"eth7","pid":1}` + "\n" +
			`{"kind":"address","dev":"eth7"` + index +
			`,"local":"10.8.0.1","peer":"10.8.0.2"}` + "\n" +
			`{"kind":"route","dev":"eth7"` + index +
			`,"prefix":"10.8.0.0/24","via":"10.8.0.2"}` + "\n"
		if err := errors.Join(j.Close(), os.WriteFile(path, []byte(forged), 0o600)); err != nil {
			t.Fatal(err)
		}
		recorder := iptest.NewRecorder(kernel)
		report, err := journal.Cleanup(t.Context(),
			journal.Machine{Run: recorder, Look: kernel}, host.Kinds(), nil, dir)
		if err != nil || len(report.Removed) != 0 || len(recorder.Commands()) != 0 {
			t.Errorf("%s: removed %q, %v; ran %v", index, report.Removed, err,
				recorder.Commands())
		}
	}
}

// What a Router would not undo it does not add.
func TestRefusedConfigs(t *testing.T) {
	for name, change := range map[string]func(*host.Want){
		"default route": func(c *host.Want) { c.Routes[0].Prefix = prefix("0.0.0.0/0") },
		"half of all":   func(c *host.Want) { c.Routes[0].Prefix = prefix("0.0.0.0/1") },
		"loopback": func(c *host.Want) {
			*c = host.Pair("tun0", 1400, 100, addr("127.0.0.3"), addr("127.0.0.4"),
				prefix("127.0.0.0/8"))
		},
		"everything beyond": func(c *host.Want) {
			c.Routes = append(c.Routes, host.Route{Prefix: prefix("0.0.0.0/1"), Via: addr("10.1.1.4")})
		},
		"peer elsewhere":  func(c *host.Want) { c.Routes[0].Prefix = prefix("10.9.0.0/24") },
		"both ends equal": func(c *host.Want) { c.Addresses[0].Peer = c.Addresses[0].Local },
	} {
		t.Run(name, func(t *testing.T) {
			recorder := iptest.NewRecorder(nil)
			notes, err := openJournal(t.TempDir(), "tun0")
			if err != nil {
				t.Fatal(err)
			}
			r := host.New(journal.Machine{Run: recorder}, notes, nil)
			c := pair("10.1.1.3", "10.1.1.4")
			change(&c)
			if err := r.Apply(t.Context(), c); !errors.Is(err, journal.ErrFact) {
				t.Errorf("%v", err)
			}
			if ran := recorder.Transcript(); strings.Contains(ran, "route add") &&
				name != "everything beyond" || strings.Contains(ran, "0.0.0.0") {
				t.Errorf("ran %s", ran)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIsPrivate(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0/8": true, "10.1.1.0/24": true, "172.16.0.0/12": true, "192.168.7.0/31": true,
		"100.64.0.0/10": true,
		"10.0.0.0/7":    false, "172.32.0.0/16": false, "192.168.0.0/15": false,
		"8.8.8.0/24":     false,
		"0.0.0.0/0":      false,
		"100.128.0.0/16": false, "fd00::/8": false,
	} {
		if got := route.IsPrivate(prefix(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
