package admission

import (
	"log/slog"
	"sync/atomic"
)

// Reason is why somebody was turned away before there was a session.
type Reason int

// The reasons, in the order of the log. A Limiter gives those up to Silent.
const (
	Total     Reason = iota // as many connections as there may be
	PerSource               // as many from one source as there may be
	Rate                    // too many handshakes from one source or its network
	Late                    // no processor time for its handshake
	Evicted                 // closed, before a login, for another unauthenticated connection
	// gone, or cut off, without a whole request; not part of an attack by itself
	Silent
	NotFound      // a request that is not for the hub
	Banned        // a login while its source is banned
	Token         // a login with a wrong token or none
	Upgrade       // logged in, but no WebSocket
	Connect       // no usable connect, or not in time
	Address       // no free address pair
	Lane          // one more connection for a session that has none, or not so many
	Sessions      // one session more than the token may have
	TooManyLogins // too many logins with one token
	Internal      // this side failed
	reasons
)

// String returns why's name in the log.
func (why Reason) String() string {
	return [reasons]string{"connections", "per_address", "handshake_rate", "handshake_time",
		"evicted", "no_request", "not_found", "banned",
		"token", "no_upgrade", "no_connect", "no_address", "no_lane",
		"sessions", "logins", "internal"}[why]
}

// Refusals counts who was turned away, by reason. Its methods may be called concurrently.
type Refusals [reasons]atomic.Uint64

// Note counts one that is not worth a line in the log.
func (r *Refusals) Note(why Reason) { r[why].Add(1) }

// Count counts one, and returns log for the line about it.
func (r *Refusals) Count(why Reason, log *slog.Logger) *slog.Logger {
	r.Note(why)
	return log
}

// Log returns the counts as a group for a log line.
func (r *Refusals) Log() slog.Value {
	var attrs []slog.Attr
	for why := range reasons {
		attrs = append(attrs, slog.Uint64(why.String(), r[why].Load()))
	}
	return slog.GroupValue(attrs...)
}
