package config

import (
	"fmt"
	"path/filepath"

	"tunnel/config/setting"
)

// AuditJournal is the AuditLog that is the journal of systemd, and not a file.
const AuditJournal = "journald"

const (
	// defaultAuditSize is the default of AuditLogSize.
	defaultAuditSize = 10 << 20
	// leastAuditSize is the smallest AuditLogSize but 0, in bytes: some entries have long lists.
	leastAuditSize = 64 << 10
)

// The flags of hooks.
const (
	OnUp         = "on-up"
	OnDown       = "on-down"
	OnConnect    = "on-connect"
	OnDisconnect = "on-disconnect"
)

// auditSettings are those of what a server tells of itself.
func (s *Serve) auditSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "audit-log", Trusted: true, Category: setting.Machine,
			Value: setting.String(&s.AuditLog),
			Usage: "write who made tokens, who was connected and whose login was refused to `FILE`, " +
				"a JSON line each; or to journald",
			More: "The whole path, or `journald`. The file is made with mode 600. " +
				"[AUDIT.md](AUDIT.md) has the fields"},
		{Name: "audit-log-size", Category: setting.Machine, OrNumber: true,
			Value: sizeOrNone(&s.AuditLogSize),
			Usage: "`SIZE` from which on the file of --audit-log is renamed to FILE.1, and a new one " +
				"begun; four of those are kept. 0 is never",
			More: "At least `64K`"},
		{Name: OnUp, Trusted: true, Category: setting.Machine, Value: setting.String(&s.OnUp),
			Usage: "shell `COMMAND` to run when clients can connect, with TUNNEL_DEV, TUNNEL_ADDRESS " +
				"and TUNNEL_PEER"},
		{Name: OnDown, Trusted: true, Category: setting.Machine, Value: setting.String(&s.OnDown),
			Usage: "shell `COMMAND` to run before the device goes down, for a second at most"},
		{Name: OnConnect, Trusted: true, Category: setting.Machine, Value: setting.String(&s.OnConnect),
			Usage: "shell `COMMAND` to run when a client's session has begun, for ten seconds at most, " +
				"with TUNNEL_CLIENT_NAME and others",
			More: "[OPERATIONS.md](OPERATIONS.md#hooks) has the variables. One hook of clients runs " +
				"at a time, in order; a session does not wait for it"},
		{Name: OnDisconnect, Trusted: true, Category: setting.Machine,
			Value: setting.String(&s.OnDisconnect),
			Usage: "shell `COMMAND` to run when a client's session has ended, for ten seconds at most, " +
				"with TUNNEL_REASON, TUNNEL_BYTES_IN and others"},
	}
}

// Hook returns the command of a flag, "" for none.
func (s *Serve) Hook(flag string) string {
	return map[string]string{OnUp: s.OnUp, OnDown: s.OnDown, OnConnect: s.OnConnect,
		OnDisconnect: s.OnDisconnect}[flag]
}

// Hooks reports whether there is any command.
func (s *Serve) Hooks() bool {
	return s.OnUp+s.OnDown+s.OnConnect+s.OnDisconnect != ""
}

// checkAudit notes all problems of the audit log.
func (s *Serve) checkAudit(c *setting.Checker) {
	if f := s.AuditLog; f != "" && f != AuditJournal && (!filepath.IsAbs(f) ||
		filepath.Clean(f) != f) {
		c.Wrong("audit-log", " %s is neither the whole path of a file nor journald", f)
	}
	if n := s.AuditLogSize; n != 0 && n < leastAuditSize {
		c.Wrong("audit-log-size", " %s is too little: give %s at least, or 0 for no bound",
			setting.SizeText(n), setting.SizeText(leastAuditSize))
	}
}

// sizeOrNone is a number of bytes, of which 0 is no bound.
func sizeOrNone(p *int64) setting.Value {
	return setting.Single[int64]{P: p, Format: setting.SizeText,
		Parse: func(s string) (int64, error) {
			n, err := setting.ParseSize(s)
			if err != nil {
				return 0, fmt.Errorf(" %s is not a size like 10M or 1G", s)
			}
			return n, nil
		}}
}
