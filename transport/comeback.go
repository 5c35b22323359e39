package transport

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CodeRestart is the close code of a server that is told to stop and most likely starts again
// (Service Restart in the WebSocket close code registry). Its reason says when to come back: see
// ComeBack.
const CodeRestart Code = 1012

// maxComeBack is the longest time for which a client takes the server's word.
const maxComeBack = time.Minute

// The reason of a CodeRestart; between the two are seconds, a decimal number.
const (
	comeBackPrefix = "the server stops: come back in "
	comeBackSuffix = " s"
)

// ComeBack is what a server that stops says to a client that shall come back after that time, in
// whole milliseconds.
func ComeBack(after time.Duration) *CloseError {
	seconds := strconv.FormatFloat(after.Round(time.Millisecond).Seconds(), 'f', -1, 64)
	return &CloseError{Code: CodeRestart, Reason: fmt.Sprint(comeBackPrefix, seconds,
		comeBackSuffix)}
}

// ComeBackIn returns after which time the server wants the client back; false when it has not said
// so, or nothing that makes sense. It is at most a minute.
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
