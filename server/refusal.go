package server

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A refusal is the reason why somebody was turned away before there was a session.
type refusal int

const (
	refuseTotal     refusal = iota // as many connections as there may be
	refuseSource                   // as many connections from one address as there may be
	refuseStrangers                // as many from one address that have not logged in as there may be
	refuseOldest                   // cut off, after some time without a login, for another stranger
	refuseSilent                   // gone, or cut off, without a whole request
	refusePath                     // a request that is not for us
	refuseBanned                   // a login while its address is banned
	refuseToken                    // a login with a wrong token or none
	refuseUpgrade                  // logged in, but no WebSocket
	refuseConnect                  // no usable connect, or not in time
	refuseAddress                  // no free address pair
	refuseLane                     // one more connection for a session that has none, or not so many
	refuseSessions                 // one session more than the token may have
	refuseLogins                   // too many logins with one token
	refuseInternal                 // this side failed
	refusals
)

// name is the refusal's name in logs.
func (r refusal) name() string {
	return [refusals]string{"connections", "per_address", "strangers_per_address", "oldest_stranger", "no_request", "not_found", "banned",
		"token", "no_upgrade", "no_connect", "no_address", "no_lane", "sessions", "logins", "internal"}[r]
}

// Strangers decide how often they are refused, so the log has at most burst lines about one reason, and then one every
// pause.
const (
	refusalBurst = 5
	refusalPause = 5 * time.Second
)

// refused counts who was turned away, by reason.
type refused struct {
	log     *slog.Logger
	reasons [refusals]struct {
		count   atomic.Uint64
		unsaid  atomic.Uint64
		limiter *rate.Limiter
	}
	web *rate.Limiter // of what net/http has to say
}

func newRefused(log *slog.Logger) *refused {
	r := &refused{log: log, web: rate.NewLimiter(rate.Every(refusalPause), refusalBurst)}
	for i := range r.reasons {
		r.reasons[i].limiter = rate.NewLimiter(rate.Every(refusalPause), refusalBurst)
	}
	return r
}

// note counts one that is not worth a line of the log.
func (r *refused) note(why refusal) { r.reasons[why].count.Add(1) }

// count counts one. It returns log for a line about it, with how many before it had none; nil is that it has none.
func (r *refused) count(why refusal, log *slog.Logger) *slog.Logger {
	reason := &r.reasons[why]
	reason.count.Add(1)
	if !reason.limiter.Allow() {
		reason.unsaid.Add(1)
		return nil
	}
	if n := reason.unsaid.Swap(0); n > 0 {
		return log.With("not_logged", n)
	}
	return log
}

// Write takes a line of net/http's own log, which is about what strangers do.
func (r *refused) Write(line []byte) (int, error) {
	if r.web.Allow() {
		r.log.Debug("http", "says", strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// counts returns what has been counted, for a log line.
func (r *refused) counts() slog.Value {
	var attrs []slog.Attr
	for why := range refusals {
		attrs = append(attrs, slog.Uint64(why.name(), r.reasons[why].count.Load()))
	}
	return slog.GroupValue(attrs...)
}
