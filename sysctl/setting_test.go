package sysctl_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
	"tunnel/sysctl"
)

func TestCheck(t *testing.T) {
	for _, s := range []sysctl.Setting{
		{}, {Name: sysctl.Forwarding}, {Name: sysctl.Forwarding, Dev: "all"},
		{Name: sysctl.Forwarding, Dev: "default"}, {Name: sysctl.Forwarding, Dev: ".."},
		{Name: sysctl.Forwarding, Dev: "a/b"}, {Name: "ipv4/rp_filter", Dev: "eth0"},
		{Name: "ipv4/../../../kernel/panic", Dev: "eth0"}, {Name: "forwarding", Dev: "eth0"},
	} {
		if err := s.Check(); !errors.Is(err, sysctl.ErrSetting) {
			t.Errorf("%v: %v", s, err)
		}
		if err := (sysctl.Switch{Setting: s}).Check(journal.Rules{}); !errors.Is(err,
			journal.ErrFact) {
			t.Errorf("%v: %v", s, err)
		}
	}
	for text, s := range map[string]sysctl.Setting{
		"net.ipv4.conf.eth0.forwarding":       {Name: sysctl.Forwarding, Dev: "eth0"},
		"net.ipv4.conf.eth0/7.forwarding":     {Name: sysctl.Forwarding, Dev: "eth0.7"},
		"net.ipv4.conf.eth0.src_valid_mark":   {Name: sysctl.SrcValidMark, Dev: "eth0"},
		"net.ipv6.conf.eth0.force_forwarding": {Name: sysctl.Forwarding6, Dev: "eth0"},
	} {
		if err := s.Check(); err != nil || s.String() != text {
			t.Errorf("%s: %v", s, err)
		}
	}
}

const conf = "/proc/sys/net/"

func write(t *testing.T, key, value string) {
	t.Helper()
	if err := os.WriteFile(conf+key, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile(conf + key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestKernelSwitch has each parameter off, on, and on for all interfaces: what is on needs no
// Switch, and what was switched on is switched off, unless all are on since.
func TestKernelSwitch(t *testing.T) {
	m := journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}
	for _, test := range []struct {
		name      sysctl.Name
		own, all  string // files
		wantsBoth bool   // it is off if only the parameter for all is on
	}{
		{sysctl.Forwarding, "ipv4/conf/eth.7/forwarding", "ipv4/conf/all/forwarding", true},
		{sysctl.SrcValidMark, "ipv4/conf/eth.7/src_valid_mark", "ipv4/conf/all/src_valid_mark", false},
		{sysctl.Forwarding6, "ipv6/conf/eth.7/force_forwarding", "ipv6/conf/all/forwarding", false},
	} {
		t.Run(string(test.name), func(t *testing.T) {
			iptest.Namespace(t)
			iptest.Link(t, "eth.7", "192.168.7.1/24")
			link, err := rtnl.Kernel{}.LinkByName("eth.7")
			if err != nil {
				t.Fatal(err)
			}
			set := func(own, all string) { write(t, test.all, all); write(t, test.own, own) }
			s := sysctl.Setting{Name: test.name, Dev: "eth.7"}
			plan := func(needed bool) sysctl.Switch {
				t.Helper()
				sw, err := sysctl.Plan(s, link.Index)
				if err != nil || (sw != (sysctl.Switch{})) != needed {
					t.Errorf("%v, %v", sw, err)
				}
				return sw
			}
			set("1", "0")
			plan(false)
			set("0", "1")
			if sw := plan(test.wantsBoth); test.wantsBoth {
				err := sw.Make(t.Context(), m)
				removed, failed := journal.Undo(t.Context(), m, sw)
				if err != nil || failed != nil || !removed || read(t, test.own) != "0" {
					t.Errorf("%v, %v, %v: %s", err, failed, removed, read(t, test.own))
				}
			}
			set("0", "0")
			sw := plan(true)
			if err := sw.Make(t.Context(), m); err != nil || read(t, test.own) != "1" ||
				read(t, test.all) != "0" {
				t.Errorf("%v: %s, all %s", err, read(t, test.own), read(t, test.all))
			}
			if intact, err := sw.Intact(m); err != nil || !intact || sw.Shared() {
				t.Errorf("not intact: %v", err)
			}
			if test.name != sysctl.Forwarding6 {
				write(t, test.all, "1")
				write(t, test.own, "1")
				removed, err := journal.Undo(t.Context(), m, sw)
				if err != nil || removed || !sw.Shared() || read(t, test.own) != "1" {
					t.Errorf("for all: %v, %v: %s", err, removed, read(t, test.own))
				}
				write(t, test.all, "0")
				write(t, test.own, "1")
			}
			other := sw
			other.Index++
			if removed, err := journal.Undo(t.Context(), m, other); err != nil || removed {
				t.Errorf("another interface: %v, %v", removed, err)
			}
			if removed, err := journal.Undo(t.Context(), m, sw); err != nil || !removed ||
				read(t, test.own) != "0" {
				t.Errorf("%v, %v: %s", removed, err, read(t, test.own))
			}
			if intact, err := sw.Intact(m); err != nil || intact {
				t.Errorf("intact: %v", err)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	iptest.Namespace(t)
	_, err := sysctl.Plan(sysctl.Setting{Name: sysctl.Forwarding, Dev: "none"}, 0)
	const want = "net.ipv4.conf.none.forwarding does not exist: " +
		"there is no interface none, or no /proc"
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("%v", err)
	}
}
