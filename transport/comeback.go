package transport

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CodeRestart is the close code of a server that is told to stop and most likely starts again
// (Service Restart in the WebSocket close code registry), or that ends one client's session for
// some time. Its reason has the time after which to reconnect: see ComeBack and Kick.
const CodeRestart Code = 1012

const (
	// maxComeBack bounds the time of a restart.
	maxComeBack = time.Minute
	// MaxKick bounds the time for which a client stays away.
	MaxKick = 24 * time.Hour
)

// The parts of the reason of a CodeRestart before and after the seconds, a decimal number.
const (
	comeBackPrefix = "the server stops: come back in "
	kickPrefix     = "the server's administrator ended the session: come back in "
	comeBackSuffix = " s"
)

// ComeBack returns the close error of a server that stops, for a client that is to reconnect after
// that time, in whole milliseconds.
func ComeBack(after time.Duration) *CloseError { return comeBack(comeBackPrefix, after) }

// Kick returns the close error of a session that an administrator ends, for a client that is to
// reconnect after that time, as ComeBack does.
func Kick(after time.Duration) *CloseError { return comeBack(kickPrefix, after) }

func comeBack(prefix string, after time.Duration) *CloseError {
	seconds := strconv.FormatFloat(after.Round(time.Millisecond).Seconds(), 'f', -1, 64)
	return &CloseError{Code: CodeRestart, Reason: fmt.Sprint(prefix, seconds, comeBackSuffix)}
}

// ComeBackIn returns the time after which the client is to reconnect, at most a minute; false if
// the server has given none, a longer one or an invalid one.
func (e *CloseError) ComeBackIn() (time.Duration, bool) {
	after, ok := e.after()
	return after, ok && after <= maxComeBack
}

// AwayFor returns the time for which the client is to leave this server alone, more than a minute
// and at most MaxKick; false if the server has given no such time.
func (e *CloseError) AwayFor() (time.Duration, bool) {
	after, ok := e.after()
	return after, ok && after > maxComeBack
}

// after returns the time in the reason of a server's CodeRestart, at most MaxKick.
func (e *CloseError) after() (time.Duration, bool) {
	text, ok := strings.CutSuffix(e.Reason, comeBackSuffix)
	if !ok || e.Code != CodeRestart || !e.Remote {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64)
	if err != nil || !(seconds >= 0 && seconds <= MaxKick.Seconds()) { // neither is true of NaN
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
