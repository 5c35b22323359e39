package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tunnel/cmdrun"
	"tunnel/journal"
	"tunnel/nftcmd"
)

// Table is the fact that the table of a device exists. What it holds is no part of the fact: to
// undo it, all of it is deleted.
type Table struct {
	Dev string `json:"dev"`
}

// Kind implements journal.Fact.
func (t Table) Kind() string { return "nftables" }

func (t Table) String() string { return "nftables table inet " + TableName(t.Dev) }

// Check implements journal.Fact.
func (t Table) Check(r journal.Rules) error {
	switch err := checkName(t.Dev); {
	case err != nil:
		return fmt.Errorf("%w: %w", journal.ErrFact, err)
	case r.Dev != "" && t.Dev != r.Dev:
		return fmt.Errorf("%w: %s is not that of %s", journal.ErrFact, t, r.Dev)
	case r.Secure:
		return fmt.Errorf("%w: %s: a program with file capabilities does not change the firewall",
			journal.ErrFact, t)
	}
	return nil
}

// Find implements journal.Fact. The table is this program's by its name and by the journal, even
// if others have added rules to it.
func (t Table) Find(m journal.Machine) (bool, error) {
	if cmdrun.IsDry(m.Run) {
		return false, nil
	}
	_, err := m.Run.Run(context.Background(), nftcmd.Find(TableName(t.Dev)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Make creates the table, empty. It is an error if there is one that this program has not made.
func (t Table) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, nftcmd.Create(TableName(t.Dev)))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %w", &TakenError{Dev: t.Dev}, err)
	}
	return err
}

// Remove implements journal.Fact.
func (t Table) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, nftcmd.Delete(TableName(t.Dev)))
	return err
}

// TakenError means that the table exists and no journal says that this program has made it.
type TakenError struct{ Dev string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("the nftables table inet %s exists, and no journal says that this program has "+
		"made it: delete it if nothing needs it, `nft delete table inet %[1]s`", TableName(e.Dev))
}

// ErrDiffers means that nft lists another table than the one that was set.
var ErrDiffers = errors.New("the firewall is not as it was set")

// Compare returns how the machine's table of that name differs from t, in one line; "" if it does
// not.
func Compare(ctx context.Context, m journal.Machine, t nftcmd.Table) (string, error) {
	out, err := m.Run.Run(ctx, t.List())
	if errors.Is(err, fs.ErrNotExist) {
		return "the table is missing", nil
	}
	if err != nil {
		return "", err
	}
	have, err := nftcmd.Parse(out, t.Name)
	if err != nil {
		return "", err
	}
	return t.Difference(have), nil
}

// Set makes the machine's table of that name what t says, in one transaction, and reads it back. If
// nft shows another the error is an ErrDiffers.
func Set(ctx context.Context, m journal.Machine, t nftcmd.Table) error {
	if _, err := m.Run.Run(ctx, nftcmd.Replace(t)); err != nil {
		return err
	}
	if cmdrun.IsDry(m.Run) || m.Look == nil {
		return nil
	}
	differs, err := Compare(ctx, m, t)
	if err != nil {
		return fmt.Errorf("read the firewall back: %w", err)
	}
	if differs != "" {
		return fmt.Errorf("%w: in table inet %s %s", ErrDiffers, t.Name, differs)
	}
	return nil
}
