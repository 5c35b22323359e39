// Package units writes quantities as people read them, the same on a terminal and on the web page.
package units

import (
	"fmt"
	"time"
)

// Age returns the time from then to now, in seconds or larger units.
func Age(now, then time.Time) string {
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

// Size returns a number of bytes in binary units.
func Size(n uint64) string {
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

// Bits returns a rate, given in bytes a second, in bits a second.
func Bits(bytes float64) string {
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

// Milliseconds returns a time in milliseconds; "-" for 0, which is one that is not known.
func Milliseconds(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 1:
		return fmt.Sprintf("%.2f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}
