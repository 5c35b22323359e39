package host_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
)

// refusing is a Runner by which the next transaction of nft fails, if so told.
type refusing struct {
	cmdrun.Runner
	next bool
}

func (r *refusing) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	if r.next && c.Program == "nft" && slices.Contains(c.Args, "-f") {
		r.next = false
		return nil, &cmdrun.Error{Command: c, ExitCode: 1, Err: errors.New("out of memory")}
	}
	return r.Runner.Run(ctx, c)
}

// TestKernelWithdrawnHolds gives the tunnel's network up: what its table refuses goes on to be
// refused after a transaction has failed, and after somebody has removed the table, and the LAN is
// that of the network that has come.
func TestKernelWithdrawnHolds(t *testing.T) {
	sealed := pair("10.1.1.3", "10.1.1.4")
	sealed.LAN, sealed.Firewall.KillSwitch = true, &firewall.KillSwitch{Mark: 1}
	for name, w := range map[string]host.Want{
		"full tunnel": alone(), "kill switch": sealed, "both": full(),
	} {
		t.Run(name, func(t *testing.T) {
			before := roaming(t)
			j, err := openJournal(t.TempDir(), "tun0")
			if err != nil {
				t.Fatal(err)
			}
			runner := &refusing{Runner: cmdrun.NewExec(nil)}
			r := host.New(journal.Machine{Run: runner, Look: rtnl.Kernel{}}, j, nil)
			t.Cleanup(func() { _ = r.Close() })
			if err := r.Apply(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			// This machine gets the very address that it has in the tunnel.
			iptest.IP(t, "addr add 10.1.1.3/25 dev ens160")
			runner.next = true
			if err := r.Withdraw(t.Context()); err == nil || runner.next {
				t.Fatalf("no transaction has failed: %v", err)
			}
			holds := func() {
				t.Helper()
				if err := r.Withdraw(t.Context()); err != nil {
					t.Fatal(err)
				}
				rules := nft(t, "list", "table", "inet", "tunnel_tun0")
				if !strings.Contains(rules, "reject") || !strings.Contains(rules, "10.1.1.0/25") ||
					strings.Contains(rules, "10.1.1.3 ") {
					t.Errorf("withdrawn: %s", rules)
				}
			}
			holds()
			nft(t, "flush", "ruleset")
			holds()
			iptest.IP(t, "addr del 10.1.1.3/25 dev ens160")
			if err := r.Apply(t.Context(), w); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil || whole(t) != before {
				t.Errorf("%v, left\n%s", err, whole(t))
			}
		})
	}
}
