package lease

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

// A move that is taken back does not give its holder the pair that another got meanwhile.
func TestUndoMove(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/29")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	release(p, machine("a"))
	release(p, machine("b"))
	clocks[p].pass(DefaultHold + time.Hour)
	moving, err := p.Acquire(Ask{Who: machine("a"), Want: netip.MustParseAddr("10.1.1.5"),
		Rest: Rest})
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.Acquire(Ask{Who: machine("c"), Rest: Rest})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Keep(other); err != nil {
		t.Fatal(err)
	}
	p.Undo(moving)
	if again, err := p.Acquire(Ask{Who: machine("a"), Rest: LongRest}); err == nil &&
		again.Local == other.Local {
		t.Errorf("two holders have %s", again.Local)
	}
}
