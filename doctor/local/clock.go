package local

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/doctor"
)

// clock examines the clock alone; the path to a server compares it with the server's. A machine
// without a battery begins in the past.
func (m Machine) clock(context.Context) []doctor.Finding { return clockAt(time.Now()) }

func clockAt(now time.Time) []doctor.Finding {
	const check = "clock"
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // no release is older
	text := now.UTC().Format("2006-01-02 15:04:05 UTC")
	if now.Before(first) {
		return bad(check, doctor.ClockWrong, true, "this machine's clock is wrong: it says "+text,
			"set it, or have NTP set it: certificates and tokens are not valid by it")
	}
	var state unix.Timex // without Modes it is only read
	if status, err := unix.Adjtimex(&state); err == nil && (status == unix.TIME_ERROR ||
		state.Status&unix.STA_UNSYNC != 0) {
		text += ", not kept by NTP"
	}
	return ok(check, "%s", text)
}
