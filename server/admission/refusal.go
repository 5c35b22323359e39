package admission

import (
	"log/slog"
	"sync/atomic"
)

// Reason is why a connection, or a request on it, was refused before there was a session.
type Reason int

// The reasons, in the order of the log. A Limiter gives those up to Silent.
const (
	Total     Reason = iota // the limit of connections is reached
	PerSource               // the limit of connections of a source is reached
	Rate                    // too many connections of a source or its network lately
	Late                    // no processor time for its handshake
	Evicted                 // closed before a login, to make room for another connection
	// ended without a whole request; does not count as an attack
	Silent
	NotFound      // a request that is not for the hub
	Banned        // a login while its source is banned
	Token         // a login with a wrong token or none
	Upgrade       // logged in, but no WebSocket
	Connect       // no usable connect, or not in time
	Address       // no free address pair
	Lane          // a further connection of a session that does not exist, or has all it may
	Sessions      // the token has as many sessions as it may
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

// Refusals counts refusals by reason. Its methods may be called concurrently.
type Refusals [reasons]atomic.Uint64

// Note counts a refusal that is not logged.
func (r *Refusals) Note(why Reason) { r[why].Add(1) }

// Count counts a refusal, and returns log to log it.
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

// Counts returns the counts by the names of the reasons.
func (r *Refusals) Counts() map[string]uint64 {
	counts := map[string]uint64{}
	for why := range reasons {
		counts[why.String()] = r[why].Load()
	}
	return counts
}
