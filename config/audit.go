package config

import (
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
			Value: setting.SizeOrNone(&s.AuditLogSize),
			Usage: "`SIZE` from which on the file of --audit-log is renamed to FILE.1, and a new one " +
				"begun; four of those are kept. 0 is never",
			More: "At least `64K`"},
	}
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
