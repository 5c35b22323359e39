package nftcmd_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"tunnel/nftcmd"
)

func prefixes(words ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(words))
	for i, word := range words {
		all[i] = netip.MustParsePrefix(word)
	}
	return all
}

// TestAddresses has prefixes that nft would refuse together, or join itself.
func TestAddresses(t *testing.T) {
	for want, given := range map[string][]netip.Prefix{
		"10.1.1.0/24":                    prefixes("10.1.1.0/24"),
		"10.1.1.7":                       prefixes("10.1.1.7/32"),
		"10.0.0.0/8":                     prefixes("10.1.1.0/24", "10.0.0.0/8", "10.1.1.7/32"),
		"10.1.0.0/23":                    prefixes("10.1.1.0/24", "10.1.0.0/24"),
		"10.1.1.0-10.1.2.255":            prefixes("10.1.2.0/24", "10.1.1.0/24"),
		"{ 10.1.1.0/24, 10.1.3.0/24 }":   prefixes("10.1.3.0/24", "10.1.1.0/24"),
		"{ 9.255.255.255, 10.1.1.0/24 }": prefixes("10.1.1.0/24", "9.255.255.255/32"),
		"0.0.0.0/0":                      prefixes("0.0.0.0/1", "128.0.0.0/1"),
		"224.0.0.0/3":                    prefixes("224.0.0.0/4", "240.0.0.0/4"),
		"{ fe80::/10, ff02::/16 }":       prefixes("ff02::/16", "fe80::/10"),
	} {
		if got := nftcmd.Addresses(given...); got != want {
			t.Errorf("%v: got %s, want %s", given, got, want)
		}
	}
}

func table() nftcmd.Table {
	return nftcmd.Table{Name: "tunnel_tun0", Counting: true, Chains: []nftcmd.Chain{
		{Name: "tracked", Type: "filter", Hook: "prerouting", Priority: -150, Policy: "accept",
			Rules: []string{
				"ct state new " + nftcmd.Rated("ip saddr", nftcmd.RateOver(500, 4096)) + " drop",
				"ct state new " + nftcmd.RateOver(600, 5000) + " drop",
				"ct state new " + nftcmd.Counted("ip saddr", "ct count over 4096") + " drop",
			}},
		{Name: "prerouting", Type: "nat", Hook: "prerouting", Priority: -100, Policy: "accept",
			Rules: []string{`iifname "tun0" ip daddr 10.50.1.0/24 ` + nftcmd.MapPrefix("dnat", "ip",
				"ip daddr", "10.50.1.0/24", "192.168.1.0/24")}},
		{Name: "forward", Type: "filter", Hook: "forward", Policy: "accept", Rules: []string{
			`oifname "tun0" fib saddr . iif oif missing drop`,
			`iifname "tun0" fib daddr oif exists accept`,
		}},
		{Name: "output", Type: "filter", Hook: "output", Policy: "drop", Rules: []string{
			"oifname " + nftcmd.Names("tun0", "lo") + " accept",
			"meta mark 4660 accept",
			"tcp flags syn reject with tcp reset",
			"udp dport " + nftcmd.Set("853", "53") + " reject with icmpx admin-prohibited",
			"ct state " + nftcmd.Bits("related", "established") + " accept",
		}},
	}}
}

// TestCommands is the text of all commands, byte for byte.
func TestCommands(t *testing.T) {
	const dnat = "dnat ip prefix to ip daddr map { 10.50.1.0/24 : 192.168.1.0/24 }"
	const script = `table inet tunnel_tun0
delete table inet tunnel_tun0
table inet tunnel_tun0 {
	set tracked {
		type ipv4_addr
		size 65536
		flags dynamic
	}
	set opened {
		type ipv4_addr
		size 65536
		flags dynamic,timeout
		timeout 60s
	}
	chain tracked {
		type filter hook prerouting priority -150; policy accept;
		ct state new update @opened { ip saddr limit rate over 500/second burst 4096 packets } drop
		ct state new limit rate over 600/second burst 5000 packets drop
		ct state new add @tracked { ip saddr ct count over 4096 } drop
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		iifname "tun0" ip daddr 10.50.1.0/24 ` + dnat + `
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		oifname "tun0" fib saddr . iif oif missing drop
		iifname "tun0" fib daddr oif exists accept
	}
	chain output {
		type filter hook output priority 0; policy drop;
		oifname { "lo", "tun0" } accept
		meta mark 4660 accept
		tcp flags syn reject with tcp reset
		udp dport { 53, 853 } reject with icmpx admin-prohibited
		ct state established,related accept
	}
}
`
	if c := nftcmd.Replace(table()); c.String() != "nft -f -" || c.Input != script {
		t.Errorf("%s\n%s", c, c.Input)
	}
	for _, test := range []struct{ got, want string }{
		{nftcmd.Create("x").String(), "nft create table inet x"},
		{nftcmd.Delete("x").String(), "nft delete table inet x"},
		{nftcmd.Find("x").String(), "nft -t -j list table inet x"},
		{nftcmd.Table{Name: "x"}.List().String(), "nft -j list table inet x"},
		// It has an element for each client.
		{table().List().String(), "nft -t -j list table inet tunnel_tun0"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

// listing is what nft 1.0.6 has printed of table.
func listing(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/nft/1.0.6.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParse(t *testing.T) {
	have, err := nftcmd.Parse([]byte(listing(t)), "tunnel_tun0")
	if err != nil {
		t.Fatal(err)
	}
	if differs := table().Difference(have); differs != "" || !table().Equal(have) {
		t.Errorf("%s in %+v", differs, have)
	}
}

// TestParseOlder reads what other versions print of the same.
func TestParseOlder(t *testing.T) {
	for _, change := range [][2]string{
		{`, "type_flags": "prefix"`, ""},
		{`"size": 65536`, `"size": 65536, "flags": ["dynamic"]`},
		{`"size": 65536`, `"size": 65536, "flags": "dynamic"`},
		{`"flags": ["timeout"]`, `"flags": ["dynamic", "timeout"]`},
		{`"flags": ["timeout"]`, `"flags": "timeout"`},
		{`"result": "oif"`, `"result": "check"`},
	} {
		text := strings.ReplaceAll(listing(t), change[0], change[1])
		have, err := nftcmd.Parse([]byte(text), "tunnel_tun0")
		if err != nil || text == listing(t) || !table().Equal(have) {
			t.Errorf("%v, %s", err, table().Difference(have))
		}
	}
}

// TestParseDifferences changes one thing in what nft prints: none may be taken for the table.
func TestParseDifferences(t *testing.T) {
	for name, change := range map[string][2]string{
		"policy":           {`"policy": "drop"`, `"policy": "accept"`},
		"priority":         {`"prio": 0`, `"prio": 10`},
		"hook":             {`"hook": "output"`, `"hook": "input"`},
		"type":             {`"type": "filter"`, `"type": "route"`},
		"verdict":          {`{"accept": null}`, `{"drop": null}`},
		"mark":             {`4660`, `4661`},
		"port":             {`[53, 853]`, `[53, 854]`},
		"one port":         {`{"set": [53, 853]}`, `53`},
		"interface":        {`["lo", "tun0"]`, `["lo", "tun1"]`},
		"operator":         {`"op": "=="`, `"op": "!="`},
		"unknown operator": {`"op": "=="`, `"op": "<"`},
		"state":            {`["established", "related"]`, `["established", "new"]`},
		"state exactly":    {`"op": "in"`, `"op": "=="`},
		"map":              {`"192.168.1.0"`, `"192.168.2.0"`},
		"map's size":       {`"len": 24}}]]`, `"len": 25}}]]`},
		"no prefix":        {`"flags": "netmap", "type_flags": "prefix"`, `"flags": "random"`},
		"a route":          {`"right": false`, `"right": true`},
		"no route":         {`"right": true`, `"right": false`},
		"route's name":     {`"right": true`, `"right": "eth0"`},
		"route of nothing": {`"right": true`, `"right": null`},
		"from anywhere":    {`["saddr", "iif"]`, `["saddr"]`},
		"type of address":  {`"result": "oif"`, `"result": "type"`},
		"no reset":         {`"type": "tcp reset"`, `"type": "icmp"`},
		"reset with":       {`"type": "tcp reset"`, `"type": "tcp reset", "expr": "x"`},
		"reason":           {`admin-prohibited`, `port-unreachable`},
		"selector":         {`"field": "dport"`, `"field": "sport"`},
		"limited":          {`{"accept": null}`, `{"limit": {"rate": 1}}, {"accept": null}`},
		"count":            {`"val": 4096, "inv"`, `"val": 4097, "inv"`},
		"count up to":      {`"inv": true`, `"inv": false`},
		"count elsewhere":  {`"set": "@tracked"`, `"set": "@other"`},
		"update":           {`"op": "add"`, `"op": "update"`},
		"rate":             {`"rate": 500`, `"rate": 501`},
		"burst":            {`"burst": 5000`, `"burst": 5001`},
		"per hour":         {`"per": "second"`, `"per": "hour"`},
		"bytes":            {`"rate": 600`, `"rate": 600, "rate_unit": "kbytes"`},
		"rate up to":       {`"per": "second", "inv": true`, `"per": "second", "inv": false`},
		"rate elsewhere":   {`"set": "@opened"`, `"set": "@tracked"`},
		"add":              {`"op": "update"`, `"op": "add"`},
		"one set":          {`"name": "opened"`, `"name": "tracked"`},
		"time":             {`"timeout": 60`, `"timeout": 61`},
		"size":             {`"size": 65536`, `"size": 16`},
		"constant set":     {`"size": 65536`, `"size": 65536, "flags": ["constant"]`},
		"a counter":        {`{"accept": null}`, `{"counter": {"bytes": 0}}, {"accept": null}`},
		"no chain":         {`"name": "output"`, `"name": "other"`},
		"a named set":      {`{"chain"`, `{"set": {"name": "x"}}, {"chain"`},
		"another table":    {`{"table"`, `{"element"`},
		"no JSON":          {`{"nftables"`, `{`},
	} {
		text := strings.ReplaceAll(listing(t), change[0], change[1])
		if text == listing(t) {
			t.Fatalf("%s: %q is not in the listing", name, change[0])
		}
		have, err := nftcmd.Parse([]byte(text), "tunnel_tun0")
		if err == nil && table().Difference(have) == "" {
			t.Errorf("%s is not noticed", name)
		}
	}
}

func TestDifference(t *testing.T) {
	more, less := table(), table()
	more.Chains[3].Rules = append(more.Chains[3].Rules, "accept")
	less.Chains = less.Chains[:3]
	for want, have := range map[string]nftcmd.Table{
		"":                                table(),
		`"accept" stands for "}"`:         more,
		`"}" stands for "chain output {"`: less,
		`"table inet x {" stands for "table inet tunnel_tun0 {"`: {Name: "x"},
	} {
		if got := table().Difference(have); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzParse has nft print anything: Parse does not panic, and what it takes for a table can be
// compared.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("../testdata/nft/1.0.6.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"nftables": [{"table": null}, {"rule": {}}]}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		have, err := nftcmd.Parse(output, "x")
		if err == nil && have.Difference(have) != "" {
			t.Error("it differs from itself")
		}
	})
}
