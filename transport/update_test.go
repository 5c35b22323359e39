package transport

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tunnel/packet"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// What one side encodes the other reads, as docs/PROTOCOL.md has it on the wire.
func TestUpdate(t *testing.T) {
	u := Update{
		Serial: 7, Routes: prefixes("10.50.0.0/16", "10.50.0.0/24", "192.168.7.0/24", "fd07::/48"),
		DNS: []netip.Addr{netip.MustParseAddr("10.1.1.1")}, Domains: []string{"corp.example"},
	}
	data, err := u.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const wire = `{"state":"update","serial":7,"routes":["10.50.0.0/16","10.50.0.0/24",` +
		`"192.168.7.0/24","fd07::/48"],"dns":["10.1.1.1"],"domains":["corp.example"]}`
	if string(data) != wire {
		t.Errorf("%s\nwant %s", data, wire)
	}
	if got, err := ParseUpdate(data); err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("%+v, %v", got, err)
	}
	// A list that is missing is empty, and an unknown field is ignored.
	got, err := ParseUpdate([]byte(`{"state":"update","serial":8,"hubs":[{"url":"wss://x"}]}`))
	if err != nil || !got.Equal(Update{}) || got.Serial != 8 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUpdateRefused(t *testing.T) {
	many := func(n int, entry func(i int) string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = entry(i)
		}
		text, _ := json.Marshal(all)
		return string(text)
	}
	route := func(i int) string { return fmt.Sprintf("10.%d.%d.0/24", i/256, i%256) }
	address := func(i int) string { return fmt.Sprintf("10.1.1.%d", i+1) }
	domain := func(i int) string { return fmt.Sprintf("d%d.example", i) }
	long := strings.Repeat(strings.Repeat("a", 61)+".", 4)
	for name, test := range map[string]struct {
		fields string
		good   bool
	}{
		"1024 routes":      {`"routes":` + many(1024, route), true},
		"1025 routes":      {`"routes":` + many(1025, route), false},
		"8 servers":        {`"dns":` + many(8, address), true},
		"9 servers":        {`"dns":` + many(9, address), false},
		"128 domains":      {`"domains":` + many(128, domain), true},
		"129 domains":      {`"domains":` + many(129, domain), false},
		"host bits":        {`"routes":["10.2.0.1/16"]`, false},
		"not in order":     {`"routes":["10.3.0.0/16","10.2.0.0/16"]`, false},
		"longer first":     {`"routes":["10.2.0.0/24","10.2.0.0/16"]`, false},
		"twice":            {`"routes":["10.2.0.0/16","10.2.0.0/16"]`, false},
		"nothing":          {`"routes":[""]`, false},
		"null":             {`"routes":[null]`, false},
		"an address":       {`"routes":["10.2.0.1"]`, false},
		"mapped":           {`"routes":["::ffff:10.2.0.0/112"]`, false},
		"default route":    {`"routes":["0.0.0.0/0"]`, true}, // the client decides
		"server with zone": {`"dns":["fe80::1%eth0"]`, false},
		"no server":        {`"dns":["0.0.0.0"]`, false},
		"upper case":       {`"domains":["Corp.example"]`, false},
		"final dot":        {`"domains":["corp.example."]`, false},
		"no label":         {`"domains":["corp..example"]`, false},
		"empty name":       {`"domains":[""]`, false},
		"U-label":          {`"domains":["bücher.example"]`, false},
		"A-label":          {`"domains":["xn--bcher-kva.example"]`, true},
		"long name":        {`"domains":["` + long + "aaaaa" + `"]`, true},
		"too long a name":  {`"domains":["` + long + "aaaaaa" + `"]`, false},
		"too long a label": {`"domains":["` + strings.Repeat("a", 64) + `"]`, false},
		"line break":       {`"domains":["a\nsearch b"]`, false},
		"no list":          {`"routes":"10.2.0.0/16"`, false},
		"too long":         {`"pad":"` + strings.Repeat("x", MaxUpdate) + `"`, false},
	} {
		_, err := ParseUpdate([]byte(`{"state":"update","serial":1,` + test.fields + `}`))
		if (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			fitsReason(t, err)
		}
	}
	for _, text := range []string{``, `null`, `{}`, `{"state":"update"}`,
		`{"state":"update","serial":0}`, `{"state":"update","serial":-1}`,
		`{"state":"connected","serial":1}`, `{"state":"update","serial":1}{}`} {
		if _, err := ParseUpdate([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		} else {
			fitsReason(t, err)
		}
	}
	if data, err := (Update{Serial: 1, Routes: prefixes("10.2.0.1/16")}).Encode(); err == nil {
		t.Errorf("encoded %s", data)
	}
}

// An update that is as long as its limits allow fits into a message.
func TestLongestUpdate(t *testing.T) {
	u := Update{Serial: 1 << 63}
	for i := range MaxRoutes {
		a := netip.MustParseAddr("fd00:1111:2222:3333:4444:5555:6666:0").As16()
		a[14], a[15] = byte(i>>8), byte(i)
		u.Routes = append(u.Routes, netip.PrefixFrom(netip.AddrFrom16(a), 128))
	}
	for i := range MaxDNS {
		u.DNS = append(u.DNS, netip.MustParseAddr(fmt.Sprintf("fd00:1111:2222:3333::%x", i+1)))
	}
	label := strings.Repeat("a", maxLabel)
	for range MaxDomains {
		u.Domains = append(u.Domains, strings.Join([]string{label, label, label, label[:61]}, "."))
	}
	data, err := u.Encode()
	if err != nil || len(data) > MaxUpdate {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if got, err := ParseUpdate(data); err != nil || !got.Equal(u) {
		t.Error(err)
	}
}

func TestAdvertise(t *testing.T) {
	many := make([]string, MaxAdvertise+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"10.2.%d.0/24"`, i)
	}
	for list, good := range map[string]bool{
		`"192.168.7.0/24","fd07::/48"`:           true,
		strings.Join(many[1:], ","):              true,
		strings.Join(many, ","):                  false,
		`"192.168.7.1/24"`:                       false,
		`""`:                                     false,
		`null`:                                   false,
		`"10.2.0.0/16","10.2.0.0/16"`:            false,
		`"10.2.0.0/16","10.2.0.0/24","10.2/16"`:  false,
		`"10.2.0.0/16","10.2.0.0/24"`:            true,
		`"192.168.7.0/24","::ffff:10.2.0.0/112"`: false,
	} {
		m, err := ParseConnect([]byte(`{"state":"connect","version":1,"framings":["ip"],`+
			`"can":["fly","update"],"advertise":[`+list+`]}`), packet.Offload{})
		if (err == nil) != good {
			t.Errorf("%s: %v", list, err)
		}
		if err != nil {
			fitsReason(t, err)
		} else if !m.TakesUpdates() || len(m.Advertise) == 0 {
			t.Errorf("%s: %+v", list, m)
		}
	}
	// A client that says nothing of it sends what it has always sent.
	if text, err := json.Marshal(Connect{State: MessageConnect}); err != nil ||
		strings.Contains(string(text), "can") || strings.Contains(string(text), "advertise") {
		t.Errorf("%s, %v", text, err)
	}
}

func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{
		`{"state":"update","serial":1,"routes":["10.2.0.0/16","192.168.7.0/24"],"dns":["10.1.1.1"],` +
			`"domains":["corp.example"]}`,
		`{"state":"update","serial":18446744073709551615,"routes":null,"dns":[],` +
			`"domains":["_ldap._tcp.x"]}`,
		`{"state":"update","serial":1,"routes":["::/0"],"dns":["fe80::1%eth0"],"domains":["a\u0000"]}`,
		`{"STATE":"update","Serial":1e0}`, `{"state":"update","serial":1,"routes":[[[[`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseUpdate(data)
		if err != nil {
			fitsReason(t, err)
			return
		}
		again, err := u.Encode()
		if err != nil {
			t.Fatalf("%q is taken for what cannot be sent: %v", data, err)
		}
		if got, err := ParseUpdate(again); err != nil || !got.Equal(u) || got.Serial != u.Serial {
			t.Errorf("%q: %+v, then %+v, %v", data, u, got, err)
		}
		if slices.ContainsFunc(u.Domains, func(s string) bool {
			return strings.ContainsAny(s, " \n\r\x00/")
		}) || len(u.Routes) > MaxRoutes || len(u.DNS) > MaxDNS || len(u.Domains) > MaxDomains {
			t.Errorf("%q is taken for %+v", data, u)
		}
	})
}
