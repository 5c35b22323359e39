package config

import (
	"fmt"
	"log/slog"
	"strings"

	"tunnel/auth"
	"tunnel/config/setting"
	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/tun"
)

// DefaultState is the default of Common.State.
const DefaultState = "/var/lib/tunnel"

// Log is the configuration of the log.
type Log struct {
	Level  slog.Level // the least to log; default info
	Format string     // text or json; default text
}

// Common is what serve and connect have in common.
type Common struct {
	Log

	// File is the configuration file, "" for the default one.
	File string
	// Dev is the TUN device to create; default tun0.
	Dev string
	// MTU is the size of the largest packet in bytes; default 1400, and 0 for connect, which is the
	// server's value.
	MTU int
	// Qlen is the transmit queue length in packets; default 100, and 0 for connect, which is the
	// server's value.
	Qlen int
	// Token is a secret, and TokenFile a file with it; "" is none. After loading at most one is
	// set.
	Token, TokenFile string
	// Congestion is the TCP congestion control; default auto.
	Congestion string
	// State is the directory of what is kept between runs; default DefaultState.
	State string
	// DryRun prints the ip commands and changes nothing.
	DryRun bool
	// User runs the worker; "" is tunnel if there is such a user, else nobody.
	User string
	// NoSandbox uses one process with all privileges.
	NoSandbox bool
	// Metrics is where Prometheus is answered, see location.ListenAt; "" is nowhere.
	Metrics string

	From setting.Origins
}

func defaultCommon() Common {
	return Common{
		Log: Log{Format: "text"}, Dev: "tun0", Congestion: tcp.CongestionAuto,
		State: DefaultState,
	}
}

func (l *Log) settings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "log-level", Reload: setting.AtOnce,
			Category: setting.Machine, Value: setting.Level(&l.Level),
			Usage: "least `LEVEL` to log: debug, info, warn or error"},
		{Name: "log-format", Category: setting.Machine, Value: setting.String(&l.Format),
			Usage: "`FORMAT` of the log on stderr: text or json"},
	}
}

func (l *Log) check(c *setting.Checker) {
	if l.Format != "text" && l.Format != "json" {
		c.Wrong("log-format", " %s is neither text nor json", l.Format)
	}
}

func (m *Common) settings() []*setting.Setting {
	return append([]*setting.Setting{
		{Name: "dev", Category: setting.Machine, Value: setting.String(&m.Dev),
			Usage: "`NAME` of the TUN device to create"},
		{Name: "token", Reload: setting.NextConnection,
			Category: setting.Server, Secret: true, Value: setting.String(&m.Token),
			Usage: "shared `SECRET`, at least 16 bytes; other users of this machine may see it, " +
				"better use --token-file",
			More: "`serve`: a further token, named `flag`, that is not stored. `connect`: the " +
				"token to log in with"},
		{Name: "token-file", Reload: setting.NextConnection,
			Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&m.TokenFile), Usage: "`FILE` with the shared secret"},
		{Name: "congestion", Category: setting.Server, Value: setting.String(&m.Congestion),
			Usage: "TCP congestion `CONTROL` of the tunnel's connection: auto (BBR on a long " +
				"path, else the system's), or a name that this kernel has",
			More: "A long path has a round trip of 2 ms or more"},
		{Name: "state", Category: setting.Machine, Path: true, Value: setting.String(&m.State),
			Usage: "`DIR` for what is kept between runs"},
		{Name: "dry-run", Category: setting.Machine, Value: setting.Bool(&m.DryRun),
			Usage: "print the ip commands that would run, and change nothing"},
		{Name: "user", Trusted: true, Category: setting.Machine, OrNumber: true,
			Value: setting.String(&m.User),
			Usage: "as root: `NAME` of the user of the process that talks to the network; by " +
				"default tunnel if that user exists, else nobody",
			More: "A number works, too"},
		{Name: "no-sandbox", Trusted: true, Category: setting.Machine,
			Value: setting.Bool(&m.NoSandbox),
			Usage: "as root: do everything in one process with all privileges"},
		m.metricsSetting(),
		{Name: "config", Category: setting.Machine, FlagOnly: true, Value: setting.String(&m.File),
			Usage: "`FILE` with values for these flags, YAML; flags and variables override it"},
	}, m.Log.settings()...)
}

// check checks the values. With zero, MTU and qlen may be 0, for "not given".
func (m *Common) check(c *setting.Checker, zero bool) {
	m.Log.check(c)
	if err := tun.CheckName(m.Dev); err != nil {
		c.Wrong("dev", ": %v", err)
	}
	if !zero || m.MTU != 0 {
		c.Within("mtu", m.MTU, transport.MinMTU, transport.MaxMTU)
	}
	if !zero || m.Qlen != 0 {
		c.Within("qlen", m.Qlen, 1, transport.MaxQlen)
	}
	if m.Congestion != tcp.CongestionAuto && !tcp.HasCongestion(m.Congestion) {
		c.Wrong("congestion", " %s: this kernel does not have it, or not for this user: see "+
			"net.ipv4.tcp_allowed_congestion_control", m.Congestion)
	}
	m.checkMetrics(c)
	m.checkToken(c)
}

// checkToken keeps the one of token and token-file that overrides the other.
func (m *Common) checkToken(c *setting.Checker) {
	if m.Token != "" && m.TokenFile != "" {
		switch byText, byFile := m.From["token"].Rank(), m.From["token-file"].Rank(); {
		case byText == byFile:
			c.About("token", "--token and --token-file contradict each other: give one")
			return
		case byText < byFile:
			m.Token = ""
		default:
			m.TokenFile = ""
		}
	}
	if m.Token != "" {
		if err := CheckToken(m.Token); err != nil {
			c.About("token", "%v", err)
		}
	}
}

// CheckToken returns what is wrong with a token that a user has made up. The error does not contain
// it.
func CheckToken(secret string) error {
	if len(secret) < auth.MinTokenLen {
		return fmt.Errorf(
			"the token is shorter than %d bytes, it could be guessed: make one with %s",
			auth.MinTokenLen, MakeToken)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the token has bytes that no HTTP header can carry: make one with %s",
			MakeToken)
	}
	return nil
}

// MakeToken is a command that makes a token on any Debian machine.
const MakeToken = "`(umask 077; head -c 24 /dev/urandom | base64 > token)`"
