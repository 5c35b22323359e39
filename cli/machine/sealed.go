package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tunnel/cli/failure"
	"tunnel/firewall"
	"tunnel/journal"
)

// keeping returns the facts of a killed run's journal that its successor takes over.
type keeping func(context.Context, journal.Machine, *journal.Journal) ([]journal.Fact, error)

// keepSealed is the keeping of a kill switch. It is an error if this run would open one, or if
// another device's would let nothing into this one.
func (d *direct) keepSealed(ctx context.Context, m journal.Machine,
	notes *journal.Journal) ([]journal.Fact, error) {
	own := firewall.Table{Dev: d.now().Common.Dev}
	seals := d.now().Connect != nil && d.now().Connect.KillSwitch
	left := slices.Contains(notes.Facts(), journal.Fact(own))
	if !seals && !left {
		return nil, nil
	}
	sealed, onTrial, err := firewall.Sealed(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, dev := range onTrial {
		if dev != own.Dev && seals {
			return nil, failure.New(failure.StepFirewall, fmt.Errorf(
				"the kill switch of %s is on trial, and two would block each other", dev),
				"end that run, or wait until its time is over and run `tunnel cleanup`")
		}
	}
	for _, dev := range sealed {
		switch {
		case dev != own.Dev && seals:
			return nil, failure.New(failure.StepFirewall, fmt.Errorf(
				"the kill switch of %s is on, and two would block each other", dev),
				"end that run, or if it was killed run `tunnel cleanup`")
		case dev != own.Dev || !left:
		case !seals:
			return nil, failure.New(failure.StepFirewall, fmt.Errorf("the kill switch of a run of %s "+
				"that failed or was killed is on, and this run would end it", dev),
				"give --kill-switch, or end it by `tunnel cleanup`")
		case d.trial != nil:
			return nil, failure.New(failure.StepFirewall, errors.New(
				"--confirm would end a kill switch that is already on"),
				"leave out --confirm, or end it by `tunnel cleanup`")
		}
	}
	if !seals {
		return nil, nil
	}
	return []journal.Fact{own}, nil
}
