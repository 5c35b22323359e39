package firewall

import (
	"context"
	"slices"
	"strings"

	"tunnel/journal"
	"tunnel/nftcmd"
)

// Names of the chain in which a kill switch judges what this machine sends.
const (
	outputChain = "output"
	trialChain  = "trial" // it has KillSwitch.Until
)

// Sealed returns the devices whose kill switches are on, and those of runs on trial, which end by
// themselves.
func Sealed(ctx context.Context, m journal.Machine) (devs, onTrial []string, err error) {
	out, err := m.Run.Run(ctx, nftcmd.ListChains())
	if err != nil {
		return nil, nil, err
	}
	tables, err := nftcmd.ParseChains(out)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		dev, ours := strings.CutPrefix(t.Name, TableName(""))
		has := func(chain string) bool {
			return ours && slices.ContainsFunc(t.Chains, func(c nftcmd.Chain) bool {
				return c.Name == chain && c.Hook == "output" && c.Policy == "drop"
			})
		}
		switch {
		case has(outputChain):
			devs = append(devs, dev)
		case has(trialChain):
			onTrial = append(onTrial, dev)
		}
	}
	return devs, onTrial, nil
}
