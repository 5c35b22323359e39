package server

import (
	"log/slog"
	"strings"
	"sync/atomic"
)

// A refusal is the reason why somebody was turned away before there was a session.
type refusal int

const (
	refuseTotal    refusal = iota // as many connections as there may be
	refuseSource                  // as many connections from one address as there may be
	refuseRate                    // too many handshakes from one address or its network
	refuseLate                    // no processor time for the handshake
	refuseEvicted                 // closed, before a login, for another connection without one
	refuseSilent                  // gone, or cut off, without a whole request
	refusePath                    // a request that is not for us
	refuseBanned                  // a login while its address is banned
	refuseToken                   // a login with a wrong token or none
	refuseUpgrade                 // logged in, but no WebSocket
	refuseConnect                 // no usable connect, or not in time
	refuseAddress                 // no free address pair
	refuseLane                    // one more connection for a session that has none, or not so many
	refuseSessions                // one session more than the token may have
	refuseLogins                  // too many logins with one token
	refuseInternal                // this side failed
	refusals
)

// name is the refusal's name in logs.
func (r refusal) name() string {
	return [refusals]string{"connections", "per_address", "handshake_rate", "handshake_time", "evicted", "no_request", "not_found", "banned",
		"token", "no_upgrade", "no_connect", "no_address", "no_lane", "sessions", "logins", "internal"}[r]
}

// refused counts who was turned away, by reason.
type refused struct {
	log     *slog.Logger
	reasons [refusals]atomic.Uint64
}

func newRefused(log *slog.Logger) *refused { return &refused{log: log} }

// note counts one that is not worth a line of the log.
func (r *refused) note(why refusal) { r.reasons[why].Add(1) }

// count counts one, and returns log for a line about it.
func (r *refused) count(why refusal, log *slog.Logger) *slog.Logger {
	r.note(why)
	return log
}

// Write takes a line of net/http's own log, which is about what strangers do.
func (r *refused) Write(line []byte) (int, error) {
	r.log.Debug("http", "says", strings.TrimSpace(string(line)))
	return len(line), nil
}

// counts returns what has been counted, for a log line.
func (r *refused) counts() slog.Value {
	var attrs []slog.Attr
	for why := range refusals {
		attrs = append(attrs, slog.Uint64(why.name(), r.reasons[why].Load()))
	}
	return slog.GroupValue(attrs...)
}
