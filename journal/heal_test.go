package journal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
)

// TestHealSecure is what a journal of a user who has fewer rights than this process can remove:
// nothing but a host route without which packets go the same way.
func TestHealSecure(t *testing.T) {
	const bypass = `{"kind":"bypass","dev":"ens160","prefix":"101.43.253.110/32",` +
		`"via":"192.168.107.2"}`
	for name, test := range map[string]struct {
		line, setup, removes string
	}{
		"a bypass": {bypass, "", "route 101.43.253.110/32 via 192.168.107.2 dev ens160"},
		"a host by another gateway": {
			`{"kind":"bypass","dev":"ens160","prefix":"101.43.253.111/32","via":"192.168.107.3"}`,
			"ip route add 101.43.253.111/32 via 192.168.107.3 dev ens160", "",
		},
		// Of another VPN on this machine, which has all else: the journal has the name of its
		// device.
		"a bypass of tun0's owner": {bypass, "ip route add 101.0.0.0/8 via 10.8.0.2 dev tun0", ""},
		"a device":                 {`{"kind":"device","dev":"tun0"}`, "", ""},
		"an address": {
			`{"kind":"address","dev":"tun0","local":"10.8.0.1","peer":"10.8.0.2"}`, "", "",
		},
		"a route": {
			`{"kind":"route","dev":"tun0","prefix":"10.8.0.0/24","via":"10.8.0.2"}`,
			"ip route add 10.8.0.0/24 via 10.8.0.2 dev tun0", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			kernel := iptest.New("lo", "ens160", "tun0")
			for _, command := range []string{
				"ip route add 192.168.107.0/24 dev ens160 proto kernel",
				"ip route add default via 192.168.107.2 dev ens160",
				"ip addr add dev tun0 local 10.8.0.1 peer 10.8.0.2",
				"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160",
				test.setup,
			} {
				if command == "" {
					continue
				}
				if err := kernel.Do(command); err != nil {
					t.Fatal(err)
				}
			}
			before := kernel.Dump()
			path := filepath.Join(t.TempDir(), "journal")
			if err := os.WriteFile(path, []byte(test.line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := journal.OpenSecure(path, "tun0", host.Kinds())
			if err != nil {
				t.Fatal(err)
			}
			recorder := iptest.NewRecorder(kernel)
			removed, err := j.Heal(t.Context(), journal.Machine{Run: recorder, Look: kernel})
			if err != nil || strings.Join(removed, ",") != test.removes {
				t.Errorf("removed %q, %v", removed, err)
			}
			if test.removes == "" && kernel.Dump() != before {
				t.Errorf("left\n%s", kernel.Dump())
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("the journal is left: %v", err)
			}
		})
	}
}
