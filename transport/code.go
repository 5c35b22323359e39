// Package transport is the contract between the two ends of a connection, and between this
// program's parts: the messages connect and connected, the close codes and their errors, the steps
// of a dial and how they fail, the URLs of servers and proxies. docs/PROTOCOL.md has the wire
// format.
//
// Below it are: dial, from a name to a TCP or TLS connection; tcp, that connection, and the tuner
// of its socket; fq, the queues of packets to send; ws, the WebSocket: start reading there.
package transport

import (
	"errors"
	"fmt"
)

// State of a connection (STATE_INIT and STATE_CONNECTED in the seed).
type State int32

// Both sides are StateInit until connect was answered by connected. Batches flow in StateConnected
// only.
const (
	StateInit State = iota
	StateConnected
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code uint16

// Close codes that this protocol uses; docs/PROTOCOL.md defines them.
const (
	CodeNormal    Code = 1000 // the client is done
	CodeGoingAway Code = 1001 // the server stops
	CodeProtocol  Code = 1002 // the other side broke the protocol
	CodeNoStatus  Code = 1005 // a close frame without a code; never sent
	CodeInternal  Code = 1011 // this side failed
	CodeNoAddress Code = 4001 // no free address pair
	CodeReplaced  Code = 4002 // a newer connection resumed the session
	CodeRevoked   Code = 4003 // the token opens nothing any more
	// of this lane alone: another connection has its place, or there is no such session or lane
	CodeLane Code = 4004
	// the token has as many sessions as it may have; 4005 is kept for another use
	CodeSessions Code = 4006
)

// CloseError is the error of a connection that was closed with a code and a reason, by the peer or
// by this side. As the cause of Run's context it is the close frame that Run sends.
type CloseError struct {
	Code   Code
	Reason string // at most 123 bytes
	Remote bool   // whether the peer closed
}

func (e *CloseError) Error() string {
	who := "closed"
	if e.Remote {
		who = "the other side closed the connection"
	}
	return fmt.Sprintf("%s: %s (code %d)", who, e.Reason, e.Code)
}

// ErrSilent is the error when the peer has sent nothing for nearly two keepalive intervals.
var ErrSilent = errors.New("the other side is silent")

// ErrHungUp is the error when the connection ended without a close frame: the peer's process, or a
// middlebox, died.
var ErrHungUp = errors.New("the other side hung up")
