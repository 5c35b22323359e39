package transport

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CodeRestart is the close code of a server that is told to stop and most likely starts again
// (Service Restart in the WebSocket close code registry). Its reason has the time after which to
// reconnect: see ComeBack.
const CodeRestart Code = 1012

// maxComeBack bounds the time that a client accepts from a server.
const maxComeBack = time.Minute

// The parts of the reason of a CodeRestart before and after the seconds, a decimal number.
const (
	comeBackPrefix = "the server stops: come back in "
	comeBackSuffix = " s"
)

// ComeBack returns the close error of a server that stops, for a client that is to reconnect after
// that time, in whole milliseconds.
func ComeBack(after time.Duration) *CloseError {
	seconds := strconv.FormatFloat(after.Round(time.Millisecond).Seconds(), 'f', -1, 64)
	return &CloseError{Code: CodeRestart, Reason: fmt.Sprint(comeBackPrefix, seconds,
		comeBackSuffix)}
}

// ComeBackIn returns the time after which the client is to reconnect, at most a minute; false if
// the server has given none, or an invalid one.
func (e *CloseError) ComeBackIn() (time.Duration, bool) {
	text, ok := strings.CutSuffix(e.Reason, comeBackSuffix)
	if !ok || e.Code != CodeRestart || !e.Remote {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64)
	if err != nil || !(seconds >= 0 && seconds <= maxComeBack.Seconds()) { // neither is true of NaN
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
