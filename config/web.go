package config

import (
	"net/netip"

	"tunnel/config/location"
	"tunnel/config/setting"
)

// webSetting is that of Serve.Web.
func (s *Serve) webSetting() *setting.Setting {
	return &setting.Setting{Name: "web", Trusted: true, Category: setting.Machine,
		Value: setting.String(&s.Web),
		Usage: "show a web page at `ADDRESS`, [HOST]:PORT, to those who log in by a link that " +
			"tunnel web prints",
		More: "HOST is an address of this machine, or `localhost`. On a loopback address it speaks " +
			"HTTP; elsewhere HTTPS, with the certificate of --listen, and not with --plain. " +
			"--client-ca does not cover it"}
}

// checkWeb notes all problems in Web.
func (s *Serve) checkWeb(c *setting.Checker) {
	if s.Web == "" {
		return
	}
	address, err := location.Listen(s.Web)
	if err != nil {
		c.Wrong("web", "%v", err)
		return
	}
	if at, err := netip.ParseAddrPort(address); s.Plain && (err != nil || !at.Addr().IsLoopback()) {
		c.About("web", "--web %s: without TLS the page is for a loopback address only: give --web "+
			"localhost:PORT, or leave --plain out", s.Web)
	}
}
