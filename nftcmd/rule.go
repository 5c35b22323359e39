package nftcmd

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleText returns the canonical form of a rule. A statement that this program does not write stays
// JSON, which equals no rule.
func ruleText(statements []json.RawMessage) string {
	words := make([]string, len(statements))
	for i, raw := range statements {
		text, known := statementText(raw)
		if !known {
			text = compact(raw)
		}
		words[i] = text
	}
	return strings.Join(words, " ")
}

// compact returns JSON in one line.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return strconv.Quote(string(raw))
	}
	return b.String()
}

// only returns the one member of a JSON object.
func only(raw json.RawMessage) (key string, value json.RawMessage, ok bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || len(object) != 1 {
		return "", nil, false
	}
	for key, value = range object {
		return key, value, true
	}
	return "", nil, false
}

func statementText(raw json.RawMessage) (text string, known bool) {
	kind, value, ok := only(raw)
	if !ok {
		return "", false
	}
	bare := string(value) == "null"
	switch kind {
	case "accept", "drop", "masquerade":
		return kind, bare
	case "match":
		return matchText(value)
	case "reject":
		var reject struct {
			Type string `json:"type"`
			Expr string `json:"expr"`
		}
		known := json.Unmarshal(value, &reject) == nil
		if reject.Type == "tcp reset" && reject.Expr == "" {
			return "reject with tcp reset", known
		}
		return "reject with " + reject.Type + " " + reject.Expr, known
	case "mangle":
		var mangle struct {
			Key   json.RawMessage `json:"key"`
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(value, &mangle) != nil {
			return "", false
		}
		left, known := selectorText(mangle.Key)
		return left + " set " + compact(mangle.Value), known
	case "snat", "dnat":
		return mapText(kind, value)
	case "ct count":
		return countText(value)
	case "limit":
		return rateText(value)
	case "set":
		return perAddressText(value)
	}
	return "", false
}

// matchText returns the canonical form of a comparison. For a state or flags nft prints the
// operator "in", where one of the given bits must be set.
func matchText(raw json.RawMessage) (text string, known bool) {
	var match struct {
		Op    string          `json:"op"`
		Left  json.RawMessage `json:"left"`
		Right json.RawMessage `json:"right"`
	}
	if json.Unmarshal(raw, &match) != nil {
		return "", false
	}
	left, known := selectorText(match.Left)
	bits := left == "ct state" || left == "ct status" || left == "tcp flags"
	if match.Op == "in" {
		names, ok := bitsText(match.Right)
		return left + " " + names, known && ok && bits
	}
	right, valued := valueText(match.Right, strings.HasSuffix(left, "ifname") ||
		left == "meta iif" || left == "meta oif")
	if found := false; strings.HasPrefix(left, "fib ") && strings.HasSuffix(left, " oif") {
		valued = json.Unmarshal(match.Right, &found) == nil && !bytes.Equal(match.Right, []byte("null"))
		right = map[bool]string{true: "exists", false: "missing"}[found]
	}
	if left == "meta l4proto" {
		right = protocols(right)
	}
	known = known && valued && !bits
	switch match.Op {
	case "==":
		return left + " " + right, known
	case "!=":
		return left + " != " + right, known
	case ">=":
		at, ok := timeText(right)
		return left + " >= " + at, known && ok && left == "meta time"
	}
	return "", false
}

// protocols returns the numbers of protocols, for which nft prints the names of /etc/protocols if
// there is one.
func protocols(text string) string {
	numbers := map[string]string{"icmp": "1", "tcp": "6", "udp": "17", "ipv6-icmp": "58",
		"sctp": "132"}
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("{}, ", r) })
	for i, word := range words {
		words[i] = cmp.Or(numbers[word], word)
	}
	return Set(words...)
}

// timeText returns a time, which nft prints as a date in its time zone (cmdrun has UTC), in seconds
// since 1970.
func timeText(date string) (text string, known bool) {
	at, err := time.Parse(time.DateTime, date)
	return strconv.FormatInt(at.Unix(), 10), err == nil
}

// bitsText returns the names of bits of which one must be set.
func bitsText(raw json.RawMessage) (text string, known bool) {
	var names []string
	var name string
	if json.Unmarshal(raw, &name) == nil {
		names = []string{name}
	} else if json.Unmarshal(raw, &names) != nil {
		return "", false
	}
	return Bits(names...), len(names) > 0
}

// Bits returns the canonical form of bits of which one must be set, such as states of a connection;
// there must be at least one.
func Bits(names ...string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// selectorText returns what is compared or set.
func selectorText(raw json.RawMessage) (text string, known bool) {
	kind, value, ok := only(raw)
	var fields map[string]json.RawMessage
	if !ok || json.Unmarshal(value, &fields) != nil {
		return "", false
	}
	word := func(key string) string {
		var text string
		if json.Unmarshal(fields[key], &text) != nil {
			known = false
		}
		return text
	}
	known = true
	switch {
	case kind == "meta" && len(fields) == 1:
		text = word("key")
		if !strings.HasSuffix(text, "ifname") {
			text = "meta " + text
		}
	case kind == "fib" && len(fields) == 2:
		// nft prints a list of flags, also of one.
		var flags []string
		if json.Unmarshal(fields["flags"], &flags) != nil {
			flags = []string{word("flags")}
		}
		result := word("result")
		if result == "check" { // later versions of nft, for whether there is a route
			result = "oif"
		}
		text = "fib " + strings.Join(flags, " . ") + " " + result
	case kind == "ct" && len(fields) == 1:
		text = "ct " + word("key")
	case kind == "ct" && len(fields) == 2: // of the packets of one direction
		text = "ct " + word("dir") + " " + word("key")
	case kind == "payload" && len(fields) == 2:
		text = word("protocol") + " " + word("field")
	case kind == "tcp option" && len(fields) == 2:
		text = "tcp option " + word("name") + " " + word("field")
	default:
		return "", false
	}
	return text, known
}

// valueText returns what a selector is compared with; quoted reports whether strings are names.
func valueText(raw json.RawMessage, quoted bool) (text string, known bool) {
	if kind, value, ok := only(raw); ok && kind == "set" {
		raw = value
	}
	var elements []json.RawMessage
	list := json.Unmarshal(raw, &elements) == nil
	if !list {
		elements = []json.RawMessage{raw}
	}
	var ranges []addressRange
	texts := make([]string, 0, len(elements))
	for _, element := range elements {
		if r, ok := parseRange(element); ok {
			ranges = append(ranges, r)
			continue
		}
		text, known := scalarText(element, quoted)
		if !known {
			return "", false
		}
		texts = append(texts, text)
	}
	switch {
	case len(elements) == 0 || len(ranges) > 0 && len(texts) > 0:
		return "", false
	case len(ranges) > 0:
		return addressSet(ranges), true
	}
	return Set(texts...), true
}

// scalarText returns a number or a word.
func scalarText(raw json.RawMessage, quoted bool) (text string, known bool) {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		if quoted {
			word = strconv.Quote(word)
		}
		return word, true
	}
	var number uint64
	if json.Unmarshal(raw, &number) != nil {
		return "", false
	}
	return strconv.FormatUint(number, 10), true
}

// parseRange reads an address, a prefix or a range of addresses.
func parseRange(raw json.RawMessage) (r addressRange, ok bool) {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		a, err := netip.ParseAddr(word)
		return addressRange{a, a}, err == nil
	}
	kind, value, ok := only(raw)
	if !ok {
		return addressRange{}, false
	}
	switch kind {
	case "prefix":
		var prefix struct {
			Addr netip.Addr `json:"addr"`
			Len  int        `json:"len"`
		}
		if json.Unmarshal(value, &prefix) != nil {
			return addressRange{}, false
		}
		p := netip.PrefixFrom(prefix.Addr, prefix.Len)
		if !p.IsValid() {
			return addressRange{}, false
		}
		return addressRange{p.Masked().Addr(), lastOf(p)}, true
	case "range":
		var ends []netip.Addr
		if json.Unmarshal(value, &ends) != nil || len(ends) != 2 || ends[1].Less(ends[0]) ||
			slices.ContainsFunc(ends, func(a netip.Addr) bool { return !a.IsValid() }) {
			return addressRange{}, false
		}
		return addressRange{ends[0], ends[1]}, true
	}
	return addressRange{}, false
}

// mapText returns the canonical form of a one-to-one translation with one prefix.
func mapText(kind string, raw json.RawMessage) (text string, known bool) {
	var nat struct {
		Family    string          `json:"family"`
		Addr      json.RawMessage `json:"addr"`
		Flags     json.RawMessage `json:"flags"`
		TypeFlags string          `json:"type_flags"`
		Port      json.RawMessage `json:"port"`
	}
	if json.Unmarshal(raw, &nat) != nil || nat.Port != nil {
		return "", false
	}
	// The kernel's flag for that; older versions of nft print nothing else.
	if nat.TypeFlags != "prefix" && !bytes.Equal(nat.Flags, []byte(`"netmap"`)) {
		return "", false
	}
	operator, value, _ := only(nat.Addr)
	var lookup struct {
		Key  json.RawMessage `json:"key"`
		Data struct {
			Set [][]json.RawMessage `json:"set"`
		} `json:"data"`
	}
	if operator != "map" || json.Unmarshal(value, &lookup) != nil || len(lookup.Data.Set) != 1 ||
		len(lookup.Data.Set[0]) != 2 {
		return "", false
	}
	selector, known := selectorText(lookup.Key)
	from, isFrom := parseRange(lookup.Data.Set[0][0])
	to, isTo := parseRange(lookup.Data.Set[0][1])
	if !known || !isFrom || !isTo {
		return "", false
	}
	return MapPrefix(kind, nat.Family, selector, from.String(), to.String()), true
}

// MapPrefix returns the statement that translates addresses of one prefix to those with the same
// host bits of another: kind is "snat" or "dnat", selector the address that is looked up.
func MapPrefix(kind, family, selector, from, to string) string {
	return kind + " " + family + " prefix to " + selector + " map { " + from + " : " + to + " }"
}
