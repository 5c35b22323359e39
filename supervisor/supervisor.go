// Package supervisor tells the service manager that has started this process, if it is systemd, how
// the run is, and takes the socket that it has passed: sd_notify(3), sd_watchdog_enabled(3),
// sd_listen_fds(3).
package supervisor

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A State is what the service manager is told.
type State string

// The states. The first Listening or Connected completes the start of the service.
const (
	Listening    State = "listening"    // clients can connect
	Connected    State = "connected"    // packets can cross
	Disconnected State = "disconnected" // they cannot: the client tries again
	Alive        State = "alive"        // the process is not stuck
	Reloading    State = "reloading"    // the configuration is read again
	Reloaded     State = "reloaded"     // after Reloading, applied or not
)

// message returns what sd_notify(3) is given for a state; "" for an unknown one.
func (s State) message() string {
	switch s {
	case Listening:
		return daemon.SdNotifyReady + "\nSTATUS=listening"
	case Connected:
		return daemon.SdNotifyReady + "\nSTATUS=connected"
	case Disconnected:
		return "STATUS=not connected, trying again"
	case Alive:
		return daemon.SdNotifyWatchdog
	case Reloading: // systemd takes it for an answer to its signal if it is newer than that
		var now unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it has no other error than a wrong clock
		return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading,
			time.Duration(now.Nano()).Microseconds())
	case Reloaded:
		return daemon.SdNotifyReady
	}
	return ""
}

// IsKnown reports whether s is one of the states above.
func (s State) IsKnown() bool { return s.message() != "" }

// Tell tells the service manager a state. Without one nothing is done. It may be called
// concurrently.
func Tell(s State) error {
	_, err := daemon.SdNotify(false, s.message())
	return err
}

// Interval returns how often the service manager is to be told Alive: half of WatchdogSec, as
// sd_watchdog_enabled(3) advises. It is 0 if none is expected from this process.
func Interval() time.Duration {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0 // the variables are not systemd's
	}
	return limit / 2
}

// Variables returns the names of the environment variables that are for this process only, and not
// for the programs that it starts.
func Variables() []string {
	return []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS",
		"LISTEN_FDNAMES"}
}
