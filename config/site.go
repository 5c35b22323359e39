package config

import (
	"fmt"
	"strings"

	"tunnel/client/site"
	"tunnel/config/setting"
	"tunnel/firewall"
	"tunnel/transport"
)

// siteSettings are about networks behind a client.
func (o *Connect) siteSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "advertise", Trusted: true, Category: setting.Network, Value: advertised(&o.Advertise),
			Usage: "offer others the network `PREFIX[=AS]` behind this machine, as AS where given; " +
				"may be given several times",
			More: "The token must allow AS, or the PREFIX without one (`token create --route`). " +
				"Packets are forwarded between the tunnel and the interface that leads there, TCP " +
				"with segments that fit. AS has the size of PREFIX, and its addresses stand for " +
				"those of PREFIX one to one, so that sites with the same network reach each other"},
		{Name: "masquerade", Trusted: true, Category: setting.Network, Value: setting.Bool(&o.Masquerade),
			Usage: "give connections into the networks of --advertise this machine's address, for " +
				"hosts there that have no route back"},
	}
}

// Site returns what the client offers.
func (o *Connect) Site() site.Site {
	return site.Site{Networks: o.Advertise, Masquerade: o.Masquerade}
}

// checkSite notes the problems of what the client offers.
func (o *Connect) checkSite(c *setting.Checker) {
	if o.Masquerade && len(o.Advertise) == 0 {
		c.About("masquerade", "--masquerade is for --advertise PREFIX: give that too")
	}
	if len(o.Advertise) == 0 || c.Said("dev") {
		return
	}
	if n := len(o.Advertise); n > transport.MaxAdvertise {
		c.Wrong("advertise", " has %d networks, more than %d", n, transport.MaxAdvertise)
		return
	}
	for i, m := range o.Advertise {
		for _, other := range o.Advertise[:i] {
			if m.Here.Overlaps(other.Here) || m.There.Overlaps(other.There) {
				c.Wrong("advertise", " %s overlaps %s", formatMap(m), formatMap(other))
				return
			}
		}
	}
	if err := o.Site().Rules().Check(o.Dev, transport.MaxMTU); err != nil {
		c.Wrong("advertise", ": %v", err)
	}
}

func advertised(p *[]firewall.Map) setting.Value {
	return setting.Several[firewall.Map]{P: p, Split: setting.ByCommas, Format: formatMap,
		Parse: func(s string) (m firewall.Map, err error) {
			here, there, given := strings.Cut(s, "=")
			if m.Here, err = parseRoute(here); err != nil {
				return m, err
			}
			if m.There = m.Here; given {
				m.There, err = parseRoute(there)
			}
			if err == nil && m.Here.Bits() != m.There.Bits() {
				err = fmt.Errorf(" %s: %s and %s have different sizes", s, m.Here, m.There)
			}
			return m, err
		}}
}

func formatMap(m firewall.Map) string {
	if m.Here == m.There {
		return m.Here.String()
	}
	return m.Here.String() + "=" + m.There.String()
}
