package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func config(all bool, servers string, domains ...string) Config {
	c := Config{All: all, Domains: domains}
	for s := range strings.FieldsSeq(servers) {
		c.Servers = append(c.Servers, netip.MustParseAddr(s))
	}
	return c
}

func TestConfigCheck(t *testing.T) {
	many := make([]string, MaxDomains+1)
	for i := range many {
		many[i] = fmt.Sprintf("d%d.example", i)
	}
	nine := "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 10.0.0.9"
	long := strings.Repeat("a.", 126) + "a"
	for name, test := range map[string]struct {
		config Config
		want   error
	}{
		"none":                {Config{}, nil},
		"one domain":          {config(false, "10.1.1.1", "corp.example"), nil},
		"both families":       {config(false, "10.1.1.1 2001:db8::1", "corp.example"), nil},
		"all names":           {config(true, "10.1.1.1"), nil},
		"as many as allowed":  {config(false, "10.1.1.1", many[:MaxDomains]...), nil},
		"private suffix":      {config(false, "10.1.1.1", "lan", "internal", "corp"), nil},
		"reverse zone":        {config(false, "10.1.1.1", "1.168.192.in-addr.arpa"), nil},
		"underscore":          {config(false, "10.1.1.1", "_msdcs.corp.example"), nil},
		"A-label":             {config(false, "10.1.1.1", "xn--bcher-kva.example"), nil},
		"longest":             {config(false, "10.1.1.1", long), nil},
		"no server":           {config(false, "", "corp.example"), ErrConfig},
		"only all":            {config(true, ""), ErrConfig},
		"nine servers":        {config(true, nine), ErrConfig},
		"too many domains":    {config(false, "10.1.1.1", many...), ErrConfig},
		"server twice":        {config(true, "10.1.1.1 10.1.1.1"), ErrConfig},
		"this machine":        {config(true, "127.0.0.1"), ErrConfig},
		"this machine too":    {config(true, "0.0.0.0"), ErrConfig},
		"this machine in v6":  {config(true, "::1"), ErrConfig},
		"mapped":              {config(true, "::ffff:10.1.1.1"), ErrConfig},
		"link-local":          {config(true, "169.254.1.1"), ErrConfig},
		"zone":                {config(true, "fe80::1%eth0"), ErrConfig},
		"multicast":           {config(true, "224.0.0.251"), ErrConfig},
		"reserved":            {config(true, "255.255.255.255"), ErrConfig},
		"invalid server":      {Config{All: true, Servers: make([]netip.Addr, 1)}, ErrConfig},
		"domain twice":        {config(false, "10.1.1.1", "a.example", "a.example"), ErrConfig},
		"empty domain":        {config(true, "10.1.1.1", ""), ErrConfig},
		"root":                {config(true, "10.1.1.1", "."), ErrConfig},
		"trailing dot":        {config(true, "10.1.1.1", "corp.example."), ErrConfig},
		"upper case":          {config(true, "10.1.1.1", "Corp.example"), ErrConfig},
		"tilde":               {config(false, "10.1.1.1", "~."), ErrConfig},
		"option":              {config(false, "10.1.1.1", "--help"), ErrConfig},
		"line feed":           {config(true, "10.1.1.1", "a\nnameserver 9.9.9.9"), ErrConfig},
		"space":               {config(true, "10.1.1.1", "a b"), ErrConfig},
		"long label":          {config(true, "10.1.1.1", strings.Repeat("a", 64)+".b"), ErrConfig},
		"long domain":         {config(true, "10.1.1.1", long+"b.a"), ErrConfig},
		"no domain":           {config(false, "10.1.1.1"), ErrNotAll},
		"public suffix":       {config(false, "10.1.1.1", "corp.example", "com"), ErrNotAll},
		"long public suffix":  {config(false, "10.1.1.1", "co.uk"), ErrNotAll},
		"all reverse names":   {config(false, "10.1.1.1", "in-addr.arpa"), ErrNotAll},
		"accepted suffix":     {config(true, "10.1.1.1", "com"), nil},
		"of a public suffix":  {config(false, "10.1.1.1", "corp.co.uk"), nil},
		"name of one company": {config(false, "10.1.1.1", "github.io"), nil},
	} {
		if err := test.config.Check(); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A fact has the Config that it was made of, and no other text becomes one.
func TestLists(t *testing.T) {
	for _, c := range []Config{config(true, "10.1.1.1"),
		config(true, "10.1.1.1 2001:db8::1", "a.example", "b.example")} {
		if got, err := c.lists().config(true); err != nil || !got.Equal(c) {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	for _, l := range []lists{{}, {Domains: "a.example"}, {Servers: "10.1.1.1 "},
		{Servers: "10.1.1.1\n10.1.1.2"}, {Servers: "10.1.1.01"}, {Servers: "2001:DB8::1"},
		{Servers: "10.1.1.1", Domains: "a.example  b.example"},
		{Servers: "10.1.1.1", Domains: "a.example\tb.example"}, {Servers: "x"}} {
		if c, err := l.config(true); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v, %v", l, c, err)
		}
	}
}
