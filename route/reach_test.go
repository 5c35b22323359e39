package route

import (
	"net/netip"
	"testing"

	"tunnel/rtnl"
)

// oneRule is a lookup of a machine with one rule, which counts what it is asked for.
type oneRule struct {
	rtnl.Lookup

	rules, addrs int
}

func (o *oneRule) Rules() ([]rtnl.Rule, error) {
	o.rules++
	return []rtnl.Rule{{Table: 201, From: netip.MustParsePrefix("192.168.200.0/24")}}, nil
}

func (o *oneRule) Addrs(int) ([]rtnl.Addr, error) {
	o.addrs++
	return nil, nil
}

// Each table is judged once, for it may have a million routes.
func TestReachAsksOnce(t *testing.T) {
	look := new(oneRule)
	tables := reach{look: look}
	network := netip.MustParsePrefix("10.0.0.0/8")
	first := tables.table(201, network)
	for range 100 {
		if tables.table(201, network) != first {
			t.Fatal("another answer to the same question")
		}
	}
	if tables.table(202, network) {
		t.Error("a table that no rule leads to counts")
	}
	if look.rules != 1 || look.addrs != 1 {
		t.Errorf("read the rules %d times and the addresses %d times; want once each", look.rules,
			look.addrs)
	}
}
