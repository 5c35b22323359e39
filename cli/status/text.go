package status

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tunnel/admin/status"
)

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// age returns the time from then to now, in seconds or larger units.
func age(now, then time.Time) string {
	d := max(now.Sub(then), 0)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// size returns a number of bytes in binary units.
func size(n uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < len(units)-1 {
		value, unit = value/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// bits returns a rate, given in bytes a second, in bits a second.
func bits(bytes float64) string {
	switch rate := 8 * bytes; {
	case rate >= 1e9:
		return fmt.Sprintf("%.2f Gbit/s", rate/1e9)
	case rate >= 1e6:
		return fmt.Sprintf("%.1f Mbit/s", rate/1e6)
	case rate >= 1e3:
		return fmt.Sprintf("%.1f kbit/s", rate/1e3)
	default:
		return fmt.Sprintf("%.0f bit/s", rate)
	}
}

func milliseconds(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 1:
		return fmt.Sprintf("%.2f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

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
