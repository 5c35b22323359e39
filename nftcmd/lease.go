package nftcmd

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"tunnel/cmdrun"
)

// A lease is a set whose elements, both families of addresses, the kernel removes after a time.

const leaseSet = "running"

// Leased is the condition of a rule that it holds while the table's Lease lasts.
const Leased = "meta nfproto @" + leaseSet

// Renew has a table's Lease begin again, also if it was over, in one transaction.
func Renew(t Table) cmdrun.Command {
	c := command("-f", "-")
	set := family + " " + t.Name + " " + leaseSet
	c.Input = "flush set " + set + "\nadd element " + set + " " + t.leaseElements() + "\n"
	c.Routine = true
	return c
}

func (t Table) leaseElements() string {
	timeout := " timeout " + strconv.Itoa(int(t.Lease/time.Second)) + "s"
	return "{ ipv4" + timeout + ", ipv6" + timeout + " }"
}

// leaseLines returns the set as nft takes it, nothing if there is no lease.
func (t Table) leaseLines() []string {
	if t.Lease == 0 {
		return nil
	}
	return []string{"\tset " + leaseSet + " {", "\t\ttype nf_proto", "\t\tflags timeout",
		"\t\telements = " + t.leaseElements(), "\t}"}
}

// parseLease reads a set, and reports whether it is a lease that is not over.
func parseLease(raw json.RawMessage) (lease time.Duration, ok bool) {
	var set struct {
		Name  string          `json:"name"`
		Flags json.RawMessage `json:"flags"`
		Elem  []struct {
			Elem struct {
				Val     string `json:"val"`
				Timeout int64  `json:"timeout"` // seconds
			} `json:"elem"`
		} `json:"elem"`
	}
	if json.Unmarshal(raw, &set) != nil || set.Name != leaseSet ||
		!slices.Equal(flagsOf(set.Flags), []string{"timeout"}) || len(set.Elem) != 2 {
		return 0, false
	}
	a, b := set.Elem[0].Elem, set.Elem[1].Elem
	return time.Duration(a.Timeout) * time.Second, a.Timeout == b.Timeout && a.Timeout > 0 &&
		min(a.Val, b.Val) == "ipv4" && max(a.Val, b.Val) == "ipv6"
}
