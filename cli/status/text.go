package status

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tunnel/admin/status"
)

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func prefixes(all []netip.Prefix) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// names describes the DNS settings of a client.
func names(d status.DNS) string {
	if d.Problem != "" {
		return "not used: " + d.Problem
	}
	if len(d.Servers) == 0 {
		return ""
	}
	var texts []string
	for _, s := range d.Servers {
		texts = append(texts, s.String())
	}
	of := strings.Join(d.Domains, ", ")
	if d.All {
		of = "all names"
	}
	return strings.Join(texts, ", ") + " for " + of
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

func count(n int, what string) string { return fmt.Sprintf("%d %s", n, plural(n, what)) }
