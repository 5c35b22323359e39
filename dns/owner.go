package dns

import (
	"fmt"
	"strings"

	"tunnel/journal"
	"tunnel/rtnl"
)

// Owner is the run whose names they are.
type Owner struct {
	Dev   string // the tunnel's own device
	Index int    // its interface index, 0 if it is not known
	// Journal is journal.Journal.Name: who is told of a file that outlasts the run can tell by it
	// whether the run lives. "" is none, as in a dry run.
	Journal string
}

// checkDevice returns a journal.ErrFact unless dev is the tunnel's own device, by a name that
// resolvectl(1) and resolvconf(8) take for nothing else, such as an option, an index or a pattern.
func checkDevice(dev string, r journal.Rules, fact fmt.Stringer) error {
	if err := rtnl.CheckName(dev); err != nil {
		return err
	}
	if r.Dev != "" && dev != r.Dev {
		return fmt.Errorf("%w: %s is about another device than the tunnel's %s", journal.ErrFact,
			fact, r.Dev)
	}
	if r.Secure {
		return fmt.Errorf("%w: %s: a program with file capabilities changes no names",
			journal.ErrFact, fact)
	}
	letter := false
	for _, c := range dev {
		isLetter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		letter = letter || isLetter
		if !isLetter && (c < '0' || c > '9') && !strings.ContainsRune("._-", c) {
			letter = false
			break
		}
	}
	if !letter || dev[0] == '-' {
		return fmt.Errorf("%w: %s: resolvers take no device %q, only letters, digits, -, . and _",
			journal.ErrFact, fact, dev)
	}
	return nil
}
