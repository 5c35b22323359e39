package machine

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/nftcmd"
)

// TestKeepSealed has runs follow a killed one: those that would open its kill switch are refused.
func TestKeepSealed(t *testing.T) {
	iptest.Namespace(t)
	m := Kernel(slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	notes, err := journal.Open(dir, "tun0", host.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	table := firewall.Table{Dev: "tun0"}
	if err := notes.Note(table); err != nil {
		t.Fatal(err)
	}
	rules := firewall.Rules{KillSwitch: &firewall.KillSwitch{Mark: 1}}
	if err := firewall.Set(t.Context(), m, rules.Table("tun0", 1400, firewall.Guards{})); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		dev            string
		seals, onTrial bool
		says           string // "" if it is taken over
	}{
		"without":       {"tun0", false, false, "this run would end it"},
		"with":          {"tun0", true, false, ""},
		"on trial":      {"tun0", true, true, "--confirm would end a kill switch"},
		"of another":    {"tun1", true, false, "two would block each other"},
		"another plain": {"tun1", false, false, ""},
	} {
		d := direct{current: invocation.NewCurrent(&invocation.Invocation{
			Common:  &config.Common{Dev: test.dev},
			Connect: &config.Connect{KillSwitch: test.seals}})}
		if test.onTrial {
			d.trial = &trial{}
		}
		j := notes
		if test.dev != "tun0" {
			if j, err = journal.Open(dir, test.dev, host.Kinds()); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := d.keepSealed(t.Context(), m, j)
		if j != notes {
			_ = j.Close()
		}
		switch {
		case test.says == "":
			if err != nil || (len(kept) == 1) != test.seals {
				t.Errorf("%s: %v, %v", name, kept, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.says):
			t.Errorf("%s: %v", name, err)
		}
	}
	rules.KillSwitch.Until = time.Now().Add(time.Hour)
	if err := firewall.Set(t.Context(), m, rules.Table("tun2", 1400, firewall.Guards{})); err != nil {
		t.Fatal(err)
	}
	d := direct{current: invocation.NewCurrent(&invocation.Invocation{
		Common: &config.Common{Dev: "tun0"}, Connect: &config.Connect{KillSwitch: true}})}
	if _, err := d.keepSealed(t.Context(), m, notes); err == nil ||
		!strings.Contains(err.Error(), "tun2 is on trial") {
		t.Errorf("beside one on trial: %v", err)
	}
	for _, dev := range []string{"tun0", "tun2"} {
		if _, err := m.Run.Run(t.Context(), nftcmd.Delete(firewall.TableName(dev))); err != nil {
			t.Fatal(err)
		}
	}
}
