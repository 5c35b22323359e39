package config

import (
	"fmt"
	"log/slog"
	"strings"

	"tunnel/auth"
	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/tun"
)

// Log is what every command that logs is told.
type Log struct {
	Level  slog.Level // the least to log; default info
	Format string     // text or json; default text
}

// Common is what serve and connect are both told.
type Common struct {
	Log

	File       string // the configuration file, "" for the default one
	Dev        string // the TUN device to make; default tun0
	MTU        int    // bytes of the largest packet; default 1400, and 0 for connect: the server's word
	Qlen       int    // transmit queue length in packets; default 100, and 0 for connect: the server's word
	Token      string // a secret; "" for none
	TokenFile  string // has the token; "" for none. At most one of both is set
	Congestion string // TCP congestion control; default auto
	State      string // directory for what is kept between runs; default /var/lib/tunnel
	DryRun     bool   // print the ip commands and change nothing
	User       string // who runs the worker; "" is tunnel if there is such a user, else nobody
	NoSandbox  bool   // one process with all rights

	From Origins // where the values came from
}

func defaultCommon() Common {
	return Common{
		Log: Log{Format: "text"}, Dev: "tun0", Congestion: tcp.CongestionAuto, State: "/var/lib/tunnel",
	}
}

func (l *Log) settings() []*Setting {
	return []*Setting{
		{Name: "log-level", Category: machine, Usage: "least `LEVEL` to log: debug, info, warn or error", value: level(&l.Level)},
		{Name: "log-format", Category: machine, Usage: "`FORMAT` of the log on stderr: text or json", value: text(&l.Format)},
	}
}

func (l *Log) check(c *checker) {
	if l.Format != "text" && l.Format != "json" {
		c.wrong("log-format", " %s is neither text nor json", l.Format)
	}
}

func (m *Common) settings() []*Setting {
	return append([]*Setting{
		{Name: "dev", Category: machine, Usage: "`NAME` of the TUN device to make", value: text(&m.Dev)},
		{Name: "token", Category: server, Secret: true, value: text(&m.Token),
			Usage: "shared `SECRET`, at least 16 bytes; other users of this machine may see it, better use --token-file",
			More:  "`serve`: one more token, named `flag`, that is not kept. `connect`: the token to come with"},
		{Name: "token-file", Category: server, Input: true, Path: true, Usage: "`FILE` with the shared secret", value: text(&m.TokenFile)},
		{Name: "congestion", Category: server, value: text(&m.Congestion),
			Usage: "TCP congestion `CONTROL` of the tunnel's connection: auto (BBR on a long way, else the system's), or a name that this kernel has",
			More:  "A long way is one of 2 ms and more"},
		{Name: "state", Category: machine, Path: true, Usage: "`DIR` for what is kept between runs", value: text(&m.State)},
		{Name: "dry-run", Category: machine, Usage: "print the ip commands that would run, and change nothing", value: onOff(&m.DryRun)},
		{Name: "user", Category: machine, value: text(&m.User),
			Usage: "as root: `NAME` of the user who runs the part that talks to the network; tunnel if there is one, else nobody",
			More:  "A number will do"},
		{Name: "no-sandbox", Category: machine, Usage: "as root: do everything in one process with all rights", value: onOff(&m.NoSandbox)},
		{Name: "config", Category: machine, FlagOnly: true, value: text(&m.File),
			Usage: "`FILE` with values for these flags, YAML; flags and variables go before it"},
	}, m.Log.settings()...)
}

// check checks the values; zero reports whether MTU and qlen may be 0, for "not given".
func (m *Common) check(c *checker, zero bool) {
	m.Log.check(c)
	if err := tun.CheckName(m.Dev); err != nil {
		c.wrong("dev", ": %v", err)
	}
	if !zero || m.MTU != 0 {
		c.within("mtu", m.MTU, transport.MinMTU, transport.MaxMTU)
	}
	if !zero || m.Qlen != 0 {
		c.within("qlen", m.Qlen, 1, transport.MaxQlen)
	}
	if m.Congestion != tcp.CongestionAuto && !tcp.HasCongestion(m.Congestion) {
		c.wrong("congestion", " %s: this kernel does not have it, or not for this user: see net.ipv4.tcp_allowed_congestion_control", m.Congestion)
	}
	m.checkToken(c)
}

// checkToken makes the one of token and token-file count that goes before the other.
func (m *Common) checkToken(c *checker) {
	if m.Token != "" && m.TokenFile != "" {
		switch byText, byFile := m.From["token"].rank(), m.From["token-file"].rank(); {
		case byText == byFile:
			c.about("token", "--token and --token-file contradict each other: give one")
			return
		case byText < byFile:
			m.Token = ""
		default:
			m.TokenFile = ""
		}
	}
	if m.Token != "" {
		if err := CheckToken(m.Token); err != nil {
			c.about("token", "%v", err)
		}
	}
}

// CheckToken reports what is wrong with a token of a person's own. The error does not have it.
func CheckToken(secret string) error {
	if len(secret) < auth.MinTokenLen {
		return fmt.Errorf("the token is shorter than %d bytes, it could be guessed: make one with %s", auth.MinTokenLen, MakeToken)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the token has bytes that no HTTP header can carry: make one with %s", MakeToken)
	}
	return nil
}

// MakeToken is a command that makes a token on any Debian machine.
const MakeToken = "`(umask 077; head -c 24 /dev/urandom | base64 > token)`"
