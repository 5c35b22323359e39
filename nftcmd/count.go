package nftcmd

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// The sets of a Table with Counting, by address, each with as many elements as a /16 has addresses.
const (
	// countSet has the connections of each address; the kernel removes elements without connections.
	countSet = "tracked"
	// rateSet has the rate of each address; the kernel removes an element after rateTime without a
	// packet, when its limit has long recovered.
	rateSet  = "opened"
	rateTime = time.Minute
	setSize  = 1 << 16
)

// Counted is a statement that does what count, "ct count over N", does, for each address that
// selector names; for a Table with Counting.
func Counted(selector, count string) string {
	return "add @" + countSet + " { " + selector + " " + count + " }"
}

// Rated is a statement that does what limit, a RateOver, does, for each address that selector
// names; for a Table with Counting.
func Rated(selector, limit string) string {
	return "update @" + rateSet + " { " + selector + " " + limit + " }"
}

// RateOver returns the condition that there are more packets than rate a second, after the first
// burst packets, which recover at that rate.
func RateOver(rate, burst uint64) string {
	return "limit rate over " + strconv.FormatUint(rate, 10) + "/second burst " +
		strconv.FormatUint(burst, 10) + " packets"
}

// countLines returns the sets as nft takes them, nothing if nothing is counted.
func (t Table) countLines() []string {
	if !t.Counting {
		return nil
	}
	size := "\t\tsize " + strconv.Itoa(setSize)
	return []string{"\tset " + countSet + " {", "\t\ttype ipv4_addr", size, "\t\tflags dynamic", "\t}",
		"\tset " + rateSet + " {", "\t\ttype ipv4_addr", size, "\t\tflags dynamic,timeout",
		"\t\ttimeout " + strconv.Itoa(int(rateTime/time.Second)) + "s", "\t}"}
}

// parseCounting returns the name of a set if it is one of countLines, whatever it holds. nft 1.0.6
// does not print the flag "dynamic".
func parseCounting(raw json.RawMessage) (name string, ok bool) {
	var set struct {
		Name    string          `json:"name"`
		Type    string          `json:"type"`
		Size    int             `json:"size"`
		Flags   json.RawMessage `json:"flags"`
		Timeout int64           `json:"timeout"` // seconds
	}
	if json.Unmarshal(raw, &set) != nil || set.Type != "ipv4_addr" || set.Size != setSize {
		return "", false
	}
	flags := slices.DeleteFunc(flagsOf(set.Flags), func(f string) bool { return f == "dynamic" })
	switch set.Name {
	case countSet:
		ok = len(flags) == 0 && set.Timeout == 0
	case rateSet:
		ok = slices.Equal(flags, []string{"timeout"}) &&
			set.Timeout == int64(rateTime/time.Second)
	}
	return set.Name, ok
}

// flagsOf returns the flags of a set, of which some versions of nft print a single one without a
// list.
func flagsOf(raw json.RawMessage) (flags []string) {
	var flag string
	if json.Unmarshal(raw, &flag) == nil {
		return []string{flag}
	}
	if json.Unmarshal(raw, &flags) != nil {
		return nil
	}
	return flags
}

// countText returns the canonical form of a limit of connections.
func countText(raw json.RawMessage) (text string, known bool) {
	var count struct {
		Val uint32 `json:"val"`
		Inv bool   `json:"inv"`
	}
	known = json.Unmarshal(raw, &count) == nil && count.Inv
	return "ct count over " + strconv.FormatUint(uint64(count.Val), 10), known
}

// rateText returns the canonical form of RateOver.
func rateText(raw json.RawMessage) (text string, known bool) {
	var limit struct {
		Rate  uint64 `json:"rate"`
		Burst uint64 `json:"burst"`
		Per   string `json:"per"`
		Inv   bool   `json:"inv"`
		Unit  string `json:"rate_unit"` // of bytes only
	}
	known = json.Unmarshal(raw, &limit) == nil && limit.Inv && limit.Per == "second" &&
		(limit.Unit == "" || limit.Unit == "packets")
	return RateOver(limit.Rate, limit.Burst), known
}

// perAddressText returns the canonical form of Counted or Rated.
func perAddressText(raw json.RawMessage) (text string, known bool) {
	var set struct {
		Op   string            `json:"op"`
		Elem json.RawMessage   `json:"elem"`
		Set  string            `json:"set"`
		Stmt []json.RawMessage `json:"stmt"`
	}
	if json.Unmarshal(raw, &set) != nil || len(set.Stmt) != 1 {
		return "", false
	}
	selector, known := selectorText(set.Elem)
	kind, value, _ := only(set.Stmt[0])
	if !known {
		return "", false
	}
	switch {
	case set.Op == "add" && set.Set == "@"+countSet && kind == "ct count":
		text, known = countText(value)
		return Counted(selector, text), known
	case set.Op == "update" && set.Set == "@"+rateSet && kind == "limit":
		text, known = rateText(value)
		return Rated(selector, text), known
	}
	return "", false
}
